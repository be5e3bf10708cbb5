"""What decides the bits of a run, as text by name, so that two of them can be compared.

In: settings, precision, tensors, the source. Out: a dict of short texts. A run that is resumed with
another identity would not be the run that was begun, and says so instead of going on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor

from headstart.train.checkpoint import digest_of
from headstart.train.learner import Source
from headstart.train.precision import Precision, fingerprint
from headstart.train.settings import TrainSettings


def identify(
    settings: TrainSettings,
    precision: Precision,
    weights: Mapping[str, Tensor],
    source: Source,
    *,
    given: Mapping[str, str],
) -> dict[str, str]:
    """The identity of a run.

    given: further items, such as the objective and the digest of the data, by name.
    """
    shapes = {name: str(tuple(tensor.shape)) for name, tensor in weights.items()}
    return {
        **{f"settings.{name}": value for name, value in settings.decisive().items()},
        **fingerprint(precision),
        "headstart": own_version(),
        "model": digest_of(shapes)[:16],
        "first batch": _first_batch(source),
        **given,
    }


def own_version() -> str:
    """The installed version of this package."""
    try:
        return version("headstart")
    except PackageNotFoundError:
        return "not installed"


def _first_batch(source: Source) -> str:
    first = source.batch(0)
    sha = hashlib.sha256()
    for array in (first.tokens, first.lengths, first.index, *first.fields.values()):
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]
