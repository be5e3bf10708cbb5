"""Tokens a second that a GPT-2 of 124 M parameters writes, alone and for 16 prompts at once.

The weights are random: speed does not depend on what is written. Every side gets the same prompts
of 64 tokens and writes 64 more for each, always the likeliest token, none of which ends a text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import measure
from measure import Benchmark, Case, Facts, Job, Reading, Side

SIZES = {"num_layers": 12, "hidden_size": 768, "vocab_size": 50257, "max_positions": 1024}
PROMPT, NEW = 64, 64  # tokens
AT_ONCE = {"1 prompt": 1, "16 prompts": 16}
CALLS = 5

Prompts = list[list[int]]
Write = Callable[[Prompts, int], list[list[int]]]


def prepare(folder: Path) -> Facts:
    """A model folder with random weights, and prompts."""
    from headstart.families import gpt, make_head, save_model

    model = gpt.build(**SIZES)
    save_model(model, {"causal": make_head(model, "causal")}, folder / "model", pad=0)
    rng = np.random.default_rng(0)
    prompts = rng.integers(1000, 50000, (max(AT_ONCE.values()), PROMPT)).tolist()
    (folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    count = sum(weight.numel() for weight in model.parameters())
    return {"parameters": count, "prompt_tokens": PROMPT, "new_tokens": NEW}


def ours(precision: Literal["bf16", "fp32"]) -> Callable[[Path], Write]:
    """headstart, its weights packed once."""

    def make(folder: Path) -> Write:
        from headstart.evaluate.features import for_inference
        from headstart.families import load_model
        from headstart.generate import Decoding, Writer, generate

        loaded = load_model(folder)
        model = for_inference(loaded.model, precision)
        head = loaded.heads["causal"].to(model.embed.tokens.weight.dtype)
        writer = Writer(model, head, pack=True)

        def write(prompts: Prompts, new: int) -> list[list[int]]:
            return [text.tokens for text in generate(writer, prompts, Decoding(max_new=new))]

        return write

    return make


def peer(dtype: torch.dtype, *, static: bool) -> Callable[[Path], Write]:
    """transformers; a static cache has its room from the start, as ours."""

    def make(folder: Path) -> Write:
        import transformers

        transformers.logging.set_verbosity_error()
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        # transformers compiles a static cache's step by itself on accelerators only
        kind = {"cache_implementation": "static", "disable_compile": True} if static else {}

        def write(prompts: Prompts, new: int) -> list[list[int]]:
            ids = torch.tensor(prompts)
            with torch.inference_mode():
                found = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=new,
                    do_sample=False,
                    eos_token_id=None,
                    pad_token_id=0,
                    **kind,
                )
            written: list[list[int]] = found[:, ids.shape[1] :].tolist()
            return written

        return write

    return make


def timed(make: Callable[[Path], Write]) -> Callable[[Job], Reading]:
    """Tokens written a second, over whole calls after one that is not timed."""

    def run(job: Job) -> Reading:
        torch.set_num_threads(job.threads)
        every: Prompts = json.loads((job.folder / "prompts.json").read_text(encoding="utf-8"))
        prompts = every[: AT_ONCE[job.case]]
        write, new = make(job.folder / "model"), 4 if job.quick else NEW
        write(prompts, 4)
        times = []
        for _ in range(1 if job.quick else CALLS):
            start = time.perf_counter()
            found = write(prompts, new)
            times.append(time.perf_counter() - start)
            assert [len(text) for text in found] == [new] * len(prompts)
        seconds = float(np.median(times))
        return {
            "rate": len(prompts) * new / seconds,
            "seconds": seconds,
            "ms_a_token": 1e3 * seconds / new,
        }

    return run


def benchmark() -> Benchmark:
    """One prompt and many, against transformers in both formats with both of its caches."""
    half, full = torch.bfloat16, torch.float32
    sides = (
        Side("ours", "headstart, bf16", timed(ours("bf16"))),
        Side("ours_fp32", "headstart, fp32", timed(ours("fp32"))),
        Side("hf_fp32", "transformers, fp32", timed(peer(full, static=False))),
        Side("hf_bf16", "transformers, bf16", timed(peer(half, static=False))),
        Side("hf_fp32_static", "transformers, fp32, static cache", timed(peer(full, static=True))),
        Side("hf_bf16_static", "transformers, bf16, static cache", timed(peer(half, static=True))),
    )
    return Benchmark(
        "generation",
        "greedy text of a GPT-2-small: tokens a second against transformers",
        tuple(Case(name, "rate", "tokens/s", sides) for name in AT_ONCE),
        prepare,
        rounds=3,
    )


if __name__ == "__main__":
    measure.main(benchmark())
