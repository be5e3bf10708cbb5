"""Small images with known colours, encoded as files hold them."""

import io
import struct

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(width=24, height=16) -> Image.Image:
    """Four quarters: red, green over blue, white. No turn or mirror image is the same."""
    image = Image.new("RGB", (width, height), WHITE)
    half = (width // 2, height // 2)
    image.paste(RED, (0, 0, *half))
    image.paste(GREEN, (half[0], 0, width, half[1]))
    image.paste(BLUE, (0, half[1], half[0], height))
    return image


def photo(seed=0, *, width=64, height=48) -> Image.Image:
    """Smooth random colours, as a photograph has them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind="PNG", **options) -> bytes:
    """The bytes of a file."""
    place = io.BytesIO()
    image.save(place, kind, **options)
    return place.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file, with its check sum."""
    import zlib

    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
