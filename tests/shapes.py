"""Small pictures of coloured shapes: what is told apart is the shape, never the colour."""

from pathlib import Path

import numpy as np
from PIL import Image

from pictures import encoded

SHAPES = ("bar", "pole", "square")


def shape(name: str, *, seed: int, side: int = 16) -> Image.Image:
    """One shape of any bright colour, anywhere on a dark noisy ground."""
    rng = np.random.default_rng([seed, SHAPES.index(name)])
    pixels = rng.integers(0, 60, (side, side, 3), dtype=np.uint8)
    unit = side // 8
    high, wide = {"bar": (1, 5), "pole": (5, 1), "square": (4, 4)}[name]
    top = int(rng.integers(0, side - high * unit + 1))
    left = int(rng.integers(0, side - wide * unit + 1))
    colour = rng.integers(140, 256, 3, dtype=np.uint8)
    pixels[top : top + high * unit, left : left + wide * unit] = colour
    return Image.fromarray(pixels)


def write_shapes(folder: Path, count: int, *, first: int = 0, labelled: bool = True) -> Path:
    """`count` PNG files, in a folder a class, or all in one folder."""
    for number in range(first, first + count):
        name = SHAPES[number % len(SHAPES)]
        place = folder / name if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(encoded(shape(name, seed=number)))
    return folder
