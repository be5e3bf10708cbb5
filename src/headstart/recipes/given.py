"""Which setting each flag of the command line and each keyword in Python gives, said once.

In: what a person gave; None is not given. Out: values by the settings' dotted names, for
`settings_file.make_settings`.
"""

from __future__ import annotations

from collections.abc import Sequence

Given = dict[str, object]


def of_data(
    paths: Sequence[str] | None,
    *,
    text: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    vocab_size: int | None = None,
    max_length: int | None = None,
) -> Given:
    """Files, their columns, and how text becomes tokens."""
    return {
        "data.paths": paths or None,
        "data.text": text,
        "data.label": label,
        "data.kind": kind,
        "data.vocab_size": vocab_size,
        "data.max_length": max_length,
    }


def of_network(family: str | None, *, size: str | None, objective: str | None = None) -> Given:
    """What is pretrained, and by predicting what."""
    return {"model.family": family, "model.size": size, "objective.name": objective}


def of_towers(text: str | None, *, images: str | None) -> Given:
    """What the towers of a model of texts and images begin from."""
    return {"pairs.start_text": text, "pairs.start_images": images}


def of_transfer(method: str | None, *, epochs: int | None = None) -> Given:
    """How a task is learnt."""
    return {"transfer.method": method, "transfer.epochs": epochs}


def of_run(out: str | None, *, threads: int | None, seed: int | None = None) -> Given:
    """Where results go and what is used for them."""
    return {"out": out, "machine.threads": threads, "seed": seed}
