import math

import pytest
import torch
from torch import nn

from headstart.errors import CheckpointError
from headstart.train.groups import build_groups
from headstart.train.optim import Optimizer, orthogonalise
from headstart.train.precision import Precision, named_parameters
from headstart.train.settings import TrainSettings
from toy_training import make_learner, settings


def precision(dtype: torch.dtype = torch.float32) -> Precision:
    return Precision(torch.device("cpu"), dtype, 1, deterministic=True)


def build(module: nn.Module, chosen: TrainSettings, dtype: torch.dtype = torch.float32):
    groups = build_groups(named_parameters(module), chosen)
    return Optimizer(groups, chosen, precision=precision(dtype))


def fill_gradients(module: nn.Module, step: int, *, skip: str = "") -> None:
    generator = torch.Generator().manual_seed(step)
    for name, parameter in module.named_parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if skip and skip in name else gradient.to(parameter.dtype)


class Scalar(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.w = nn.Parameter(torch.full((1, 1), value))


def test_two_adamw_steps_have_the_numbers_computed_by_hand():
    chosen = settings(lr=0.1, weight_decay=0.5, beta1=0.9, beta2=0.99, eps=1e-8)
    module = Scalar(2.0)
    optimizer = build(module, chosen)
    # step 1: w = 2 (1 - 0.1 x 0.5) = 1.9; m^ = g, v^ = g^2, so w = 1.9 - 0.1 x 4 / 4 = 1.8
    module.w.grad = torch.full((1, 1), 4.0)
    optimizer.collect(first=True)
    optimizer.apply(1.0)
    assert module.w.item() == pytest.approx(1.8)
    # step 2, g = -2: w = 1.8 x 0.95 = 1.71
    # m = 0.9 x 0.4 + 0.1 x -2 = 0.16; m^ = 0.16 / (1 - 0.81)
    # v = 0.99 x 0.16 + 0.01 x 4 = 0.1984; v^ = 0.1984 / (1 - 0.9801)
    module.w.grad = torch.full((1, 1), -2.0)
    optimizer.collect(first=True)
    optimizer.apply(1.0)
    expected = 1.71 - 0.1 * (0.16 / 0.19) / math.sqrt(0.1984 / 0.0199)
    assert module.w.item() == pytest.approx(expected, rel=1e-6)


def test_flat_adamw_equals_torch_adamw_on_every_parameter_over_many_steps():
    chosen = settings(lr=3e-3, weight_decay=0.1, layer_decay=0.7)
    ours, theirs = make_learner(), make_learner()
    optimizer = build(ours, chosen)
    groups = [
        {
            "params": [dict(theirs.named_parameters())[name] for name, _ in group.members],
            "lr": chosen.lr * group.treatment.lr_scale,
            "weight_decay": group.treatment.weight_decay,
        }
        for group in build_groups(named_parameters(make_learner()), chosen)
    ]
    reference = torch.optim.AdamW(groups, betas=(chosen.beta1, chosen.beta2), eps=chosen.eps)
    for step in range(20):
        skip = "unused" if step % 3 == 0 else ""  # some have no gradient in some steps
        fill_gradients(ours, step, skip=skip)
        fill_gradients(theirs, step, skip=skip)
        optimizer.collect(first=True)
        optimizer.apply(1.0)
        reference.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-7, msg=name)


def test_a_parameter_without_gradient_keeps_its_weight_and_its_averages():
    learner = make_learner()
    optimizer = build(learner, settings(weight_decay=0.5, optimizer="muon"))
    fill_gradients(learner, 0)
    optimizer.collect(first=True)
    optimizer.apply(1.0)
    names = ("model.unused.weight", "model.blocks.0.out.weight")
    before = {
        name: (optimizer.flat.named()[name].clone(), optimizer.state()[f"first/{name}"].clone())
        for name in names
    }
    for step in (1, 2):
        fill_gradients(learner, step)
        learner.model.unused.weight.grad = None
        learner.model.blocks[0].out.weight.grad = None
        optimizer.collect(first=True)
        optimizer.apply(1.0)
    for name, (weight, average) in before.items():
        assert torch.equal(optimizer.flat.named()[name], weight), name
        assert torch.equal(optimizer.state()[f"first/{name}"], average), name
    other = "model.blocks.1.out.weight"
    assert optimizer.updates[other] == 3
    assert optimizer.updates[names[1]] == 1


@pytest.mark.parametrize("shape", [(6, 24, 24), (3, 16, 48), (3, 48, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalise(matrices, dtype=torch.float32))
    assert values.max() < 1.25
    assert values.median() > 0.65
    assert torch.linalg.svdvals(matrices).max() > 3  # they were far from it


def test_orthogonalising_keeps_the_singular_vectors():
    u, _, vt = torch.linalg.svd(torch.randn(12, 20, generator=torch.Generator().manual_seed(2)))
    spectrum = torch.linspace(1.0, 2.0, 12)
    matrix = (u * spectrum) @ vt[:12]
    rotated = u.T @ orthogonalise(matrix[None], dtype=torch.float32)[0] @ vt[:12].T
    off_diagonal = rotated - torch.diag(rotated.diagonal())
    assert off_diagonal.abs().max() < 1e-4
    assert (rotated.diagonal() - 1).abs().max() < 0.35


def test_a_batch_of_matrices_is_orthogonalised_as_each_alone():
    matrices = torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(3))
    together = orthogonalise(matrices, dtype=torch.float32)
    alone = torch.cat([orthogonalise(m[None], dtype=torch.float32) for m in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_muon_moves_a_fused_weight_as_three_matrices_with_nesterov_momentum():
    chosen = settings(optimizer="muon", muon_lr=0.1, momentum=0.8, weight_decay=0.0)
    learner = make_learner()
    weight = learner.model.blocks[0].qkv.weight
    before = weight.detach().clone()
    optimizer = build(learner, chosen)
    momentum = torch.zeros_like(before)
    expected = before.clone()
    for step in range(2):
        fill_gradients(learner, step)
        gradient = weight.grad.clone()
        optimizer.collect(first=True)
        optimizer.apply(1.0)
        momentum = 0.8 * momentum + gradient
        parts = (gradient + 0.8 * momentum).view(3, 24, 24)
        update = orthogonalise(parts, dtype=torch.float32).reshape(72, 24)
        expected -= 0.1 * update
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-6)
    whole = orthogonalise(gradient[None], dtype=torch.float32)[0]
    assert (before - 0.1 * whole - expected).abs().max() > 1e-3  # not as one matrix


def test_each_part_of_a_fused_weight_has_a_factor_of_its_steps():
    moved = []
    for factors in ((1.0, 1.0, 1.0), (0.25, 1.0, 2.0)):
        learner = make_learner()
        weight = learner.model.blocks[0].qkv.weight
        before = weight.detach().clone()
        how = settings(optimizer="muon", weight_decay=0.0, fused=(("*qkv.weight", factors),))
        optimizer = build(learner, how)
        fill_gradients(learner, 0)
        optimizer.collect(first=True)
        optimizer.apply(1.0)
        moved.append((weight.detach() - before).view(3, 24, 24))
    expected = moved[0] * torch.tensor([0.25, 1.0, 2.0])[:, None, None]
    assert moved[0].abs().max() > 1e-3
    torch.testing.assert_close(moved[1], expected, rtol=1e-4, atol=1e-7)


def test_bf16_weights_follow_the_fp32_ones_and_lose_no_small_step():
    chosen = settings(lr=1e-5, weight_decay=0.0)
    module = Scalar(1.0)
    optimizer = build(module, chosen, torch.bfloat16)
    assert module.w.dtype == torch.bfloat16
    for _ in range(1000):
        module.w.grad = torch.ones(1, 1, dtype=torch.bfloat16)
        optimizer.collect(first=True)
        optimizer.apply(1.0)
    master = optimizer.flat.named()["w"].item()
    assert master == pytest.approx(0.99, abs=1e-4)  # 1000 steps of 1e-5, each below bf16's 1/256
    assert module.w.item() == torch.tensor(master).bfloat16().item()
    optimizer.flat.release()
    assert module.w.dtype == torch.float32
    assert module.w.item() == master


def test_gradients_of_several_micro_batches_add_up_in_fp32():
    module = Scalar(1.0)
    optimizer = build(module, settings(), torch.bfloat16)
    for micro in range(257):
        module.w.grad = torch.ones(1, 1, dtype=torch.bfloat16)
        optimizer.collect(first=micro == 0)
    assert optimizer.norm() == 257.0  # bf16 would have stopped at 256


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_saved_and_loaded_averages_continue_bit_for_bit(kind: str):
    chosen = settings(optimizer=kind)
    straight, resumed = make_learner(), make_learner(1)
    first, second = build(straight, chosen), build(resumed, chosen)
    for step in range(6):
        if step == 3:
            second.flat.load({name: t.clone() for name, t in first.flat.named().items()})
            second.load({name: t.clone() for name, t in first.state().items()})
        for learner, optimizer in ((straight, first), (resumed, second)):
            fill_gradients(learner, step)
            optimizer.collect(first=True)
            optimizer.apply(1.0)
    for name, tensor in first.flat.named().items():
        assert torch.equal(tensor, second.flat.named()[name]), name


def test_averages_of_another_optimizer_are_refused():
    muon = build(make_learner(), settings(optimizer="muon"))
    adamw = build(make_learner(), settings(optimizer="adamw"))
    with pytest.raises(CheckpointError) as error:
        adamw.load(muon.state())
    assert str(error.value) == (
        "the saved tensors do not fit this model: 4 missing (second/model.blocks.0.out.weight, "
        "second/model.blocks.0.qkv.weight, second/model.blocks.1.out.weight, ...), 0 left over, "
        "0 of another shape. Was the model or the optimizer changed?"
    )


def test_tied_parameters_stay_tied():
    learner = make_learner()
    learner.heads["next"].weight = learner.model.embed.weight
    optimizer = build(learner, settings(), torch.bfloat16)
    assert learner.heads["next"].weight is learner.model.embed.weight
    assert "heads.next.weight" not in optimizer.flat.named()
