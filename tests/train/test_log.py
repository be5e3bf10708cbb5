import json
from pathlib import Path

from headstart.train.learner import StepRecord
from headstart.train.log import History


def record(step: int, loss: float = 1.0, **more: object) -> StepRecord:
    return StepRecord(step, 10, loss, 4, 8, 2, 0.5, 1.0, 0.1, 0.0, **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_not_finite_is_null_and_named_and_the_line_is_valid_json(tmp_path: Path):
    history = History(tmp_path / "m.jsonl")
    history.step(
        record(1, float("nan"), parts={"mlm": float("-inf"), "nsp": 0.5}, skipped="loss is nan"),
        samples=[3, 4],
    )
    history.close()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = json.loads((tmp_path / "m.jsonl").read_text(), parse_constant=refuse)
    assert line["loss"] is None
    assert line["parts"] == {"mlm": None, "nsp": 0.5}
    assert line["nonfinite"] == {"loss": "nan", "parts.mlm": "-inf"}
    assert (line["skipped"], line["samples"]) == ("loss is nan", [3, 4])


def test_a_resumed_history_is_cut_to_the_lines_of_the_checkpoint(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    history = History(path)
    for step in (1, 2, 3):
        history.step(record(step))
    history.close()
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # a line that a kill has torn
    again = History(path, lines=2)
    again.event("probe", {"step": 2, "scores": {"验证": 0.5}})
    again.close()
    assert [line.get("step") for line in lines(path)] == [1, 2, 2]
    assert lines(path)[2]["scores"] == {"验证": 0.5}
    assert again.lines == 3


def test_a_history_longer_than_one_read_is_cut_at_the_right_line(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    path.write_text("".join(f'{{"step": {n}, "x": "{"y" * 500}"}}\n' for n in range(6000)))
    History(path, lines=5000).close()
    assert [line["step"] for line in lines(path)] == list(range(5000))


def test_a_history_that_is_gone_begins_anew(tmp_path: Path):
    history = History(tmp_path / "m.jsonl", lines=7)
    assert history.lines == 0
    history.close()
