"""Whether captions belong to their images, or each to the one before or after.

In: images and captions in the order of their table. Out: by how many rows the captions are shifted,
as far as colours and words can tell. Colours and words of true pairs are correlated; a table whose
captions slipped by a row has this correlation between neighbours instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from headstart.data.images import Images
from headstart.data.record import Problem, problem
from headstart.evaluate.baselines import Floats, LsaFeatures
from headstart.evaluate.colour_baseline import Canonical, colour_histograms

FARTHEST = 2  # rows
LEAST_PAIRS, MOST_PAIRS = 200, 5000
SURE = 6.0  # standard errors that a shift must be above the pairs as given, and above none
RIDGE = 0.1
WORDS = 64
LEARNT = 0.7  # share of the rows, the first ones, that the correlation is learnt from


def slipped_captions(images: Images, source: str) -> Iterator[Problem]:
    """A warning where the captions seem to belong to other rows."""
    captions = [each[0] if each else "" for each in images.captions]
    by = shifted_by(images.pixels, captions) if all(captions) else 0
    if by:
        rows = "row" if abs(by) == 1 else "rows"
        where = "below" if by > 0 else "above"
        message = f"the caption of each image seems to stand {abs(by)} {rows} {where} it."
        fix = "Look at some rows; if they are wrong, move the column of captions."
        yield problem(63, "warn", source=source, message=message, fix=fix)


def shifted_by(pixels: np.ndarray, captions: Sequence[str]) -> int:
    """Rows by which captions are shifted down; 0 where they fit, or where nobody can tell.

    pixels: (N, 3, S, S) uint8. captions: one of each image.
    """
    count = min(len(captions), MOST_PAIRS)
    if count < LEAST_PAIRS or len(set(captions[:count])) < 2:
        return 0
    images = colour_histograms(pixels, np.arange(count))
    words = LsaFeatures(captions[:count], width=WORDS).transform(captions[:count])
    sure = {by: _sureness(images, words, by) for by in range(-FARTHEST, FARTHEST + 1)}
    best = max(sure, key=lambda by: (sure[by], -abs(by)))
    return best if sure[best] - max(0.0, sure[0]) > SURE and sure[0] < sure[best] / 2 else 0


def _sureness(images: Floats, words: Floats, by: int) -> float:
    """How much likelier pairs at this distance go together than others, in standard errors.

    Measured on rows from which nothing was learnt.
    """
    count = len(images)
    one = images[max(0, -by) : count - max(0, by)]
    other = words[max(0, by) : count - max(0, -by)]
    learnt = int(LEARNT * len(one))
    fitted = Canonical.of(one[:learnt], other[:learnt], ridge=RIDGE)
    likeness = fitted.ones(one[learnt:]) @ fitted.others(other[learnt:]).T
    pairs, size = np.diag(likeness), len(likeness)
    others = (likeness.sum() - pairs.sum()) / (size * (size - 1))
    # each pair beside all other captions of its image and all other images of its caption
    apart = pairs - (likeness.sum(0) + likeness.sum(1) - 2 * pairs) / (2 * (size - 1))
    spread = float(apart.std(ddof=1))
    return float((pairs.mean() - others) / max(spread, 1e-12) * np.sqrt(size))
