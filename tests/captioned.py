"""Small images of coloured shapes with captions in two languages, written as a table."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pictures import encoded

SIDE = 24
COLOURS = {
    "red": ("红色", (220, 40, 40)),
    "green": ("绿色", (40, 190, 60)),
    "blue": ("蓝色", (50, 70, 220)),
    "yellow": ("黄色", (230, 210, 50)),
}
SHAPES = {"circle": "圆形", "square": "方形", "triangle": "三角形", "cross": "十字"}
PLACES = {"above": ("上方", 1), "below": ("下方", 11)}


def draw(colour: str, shape: str, place: str, rng: np.random.Generator) -> Image.Image:
    """One shape, a little moved and of a little other colour, on a dark noisy ground."""
    ground = rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    x, y = int(rng.integers(2, 11)), PLACES[place][1] + int(rng.integers(0, 2))
    fill = tuple(int(np.clip(c + rng.integers(-25, 25), 0, 255)) for c in COLOURS[colour][1])
    box, pen = (x, y, x + 10, y + 10), ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "square":
        pen.rectangle(box, fill=fill)
    elif shape == "triangle":
        pen.polygon([(x, y + 10), (x + 5, y), (x + 10, y + 10)], fill=fill)
    else:
        pen.rectangle((x + 4, y, x + 6, y + 10), fill=fill)
        pen.rectangle((x, y + 4, x + 10, y + 6), fill=fill)
    return image


def write_pairs(folder: Path, count: int, *, shuffled: bool = False, seed: int = 0) -> Path:
    """A table of `count` images with an English and a Chinese caption, and the shape as label.

    shuffled: whether captions stand beside the images of others.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        colour, shape, place = (str(rng.choice(list(x))) for x in (COLOURS, SHAPES, PLACES))
        name = f"{number}.png"
        (folder / name).write_bytes(encoded(draw(colour, shape, place, rng)))
        captions = [
            f"a {colour} {shape} {place}",
            f"{PLACES[place][0]}有{COLOURS[colour][0]}的{SHAPES[shape]}",
        ]
        rows.append({"image": name, "caption": captions, "shape": shape})
    if shuffled:
        told = [rows[n]["caption"] for n in rng.permutation(count)]
        rows = [{**row, "caption": caption} for row, caption in zip(rows, told, strict=True)]
    path = folder / "pairs.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
