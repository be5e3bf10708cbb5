"""Images classified by the names of classes alone, through a model of two towers.

In: class names. Out: a vector for each class, the mean of several sentences about it; an image
belongs to the class whose vector is nearest. Source: Radford et al. 2021, section 3.1.4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from headstart.data.vocabulary import CJK
from headstart.evaluate.towers import Towers

TEMPLATES = ("{}", "a {}", "a photo of a {}", "a picture of a {}", "an image of the {}")
CHINESE_TEMPLATES = ("{}", "一张{}的照片", "{}的图片", "这是{}")
_CHINESE = re.compile(f"[{CJK}]")


def sentences(name: str) -> list[str]:
    """What may be said of an image of this class, in the language of its name."""
    plain = " ".join(name.replace("_", " ").split())
    templates = CHINESE_TEMPLATES if _CHINESE.search(plain) else TEMPLATES
    return [template.format(plain) for template in templates]


def class_vectors(towers: Towers, classes: Sequence[str]) -> np.ndarray:
    """(classes, C) unit vectors."""
    said = [sentences(name) for name in classes]
    vectors = towers.texts([text for each in said for text in each])
    ends = np.cumsum([len(each) for each in said])
    means = np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])])
    unit: np.ndarray = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit
