"""One encoded image in, RGB bytes out, whatever cameras, browsers and broken downloads wrote.

The format is found from the first bytes, never from the name, and only six are opened: PNG, JPEG,
WebP, BMP, GIF and TIFF, of several frames the first. Bytes and pixels are counted before anything
is decoded. What becomes of unusual pixels:
* grey (1, 8 or 16 bits): the same value in red, green and blue; 16 bits are divided by 257;
* transparency, also of palettes: laid on white. CMYK: converted without a colour profile;
* EXIF orientation: applied, once; a broken EXIF or XMP block is passed over;
* 32-bit numbers outside 0 to 65535 and floats: refused, as nobody knows what white is.

Legend: H height, W width, S side of a square.
"""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from headstart.data.record import Outcome, shown

Format = Literal["PNG", "JPEG", "WebP", "BMP", "GIF", "TIFF"]
Oddity = Literal["animated", "thin", "tiny", "renamed", "located"]

MOST_BYTES = 64 * 2**20  # of one encoded image
MOST_PIXELS = 2**26  # 67 megapixels: 192 MiB as RGB
LARGE = 2**24  # pixels; above, images are decoded one at a time
THIN, TINY = 20, 8  # remarked on: aspect ratios from, and sides (pixels) below
DRAFT = 4  # times the wanted side that a JPEG must still have when it is decoded smaller

_READERS: dict[Format, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
)
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "a PDF"),
    (0, b"SIMPLE", "a FITS image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif", "a HEIC image"),
    (4, b"ftypavif", "an AVIF image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# all that Pillow's readers raise on damage; a list, because they promise none
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(EOFError, MemoryError, RuntimeError, SystemError, struct.error, zlib.error),
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Fault:
    """Why an image cannot be used: the parts of a `Problem` without its place."""

    number: int
    outcome: Outcome
    message: str
    fix: str


@dataclass(frozen=True)
class Raster:
    """A decoded image. rgb: (H, W, 3) uint8. oddities: what a person may want to know of it."""

    rgb: np.ndarray
    format: Format
    oddities: frozenset[Oddity] = field(default_factory=frozenset)


def format_of(data: bytes) -> Format | None:
    """The image format that these first bytes (16 are enough) announce, if it is one we read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def decode(
    data: bytes, *, side: int | None = None, turn: AbstractContextManager[object] | None = None
) -> Raster | Fault:
    """The image, upright and in RGB, or what is wrong with it.

    side: the pixels a side that will be used; a much larger JPEG is then decoded at an eighth,
    quarter or half of its size, never below four times `side`.
    turn: a lock, held while a large image (up to a GiB while it is decoded) is in memory.
    """
    fault = _unreadable(data)
    if fault is not None:
        return fault
    kind = format_of(data)
    assert kind is not None, "unreadable formats were refused"
    try:
        size = _webp_size(data) if kind == "WebP" else None
        if size is not None and (fault := _too_large(*size)) is not None:
            return fault  # its reader allocates on opening
        image = _READERS[kind](io.BytesIO(data))
        fault = _too_large(*image.size)
        if fault is not None:
            return fault
        oddities = _oddities(image)
        if side is not None and kind == "JPEG":
            image.draft(None, (DRAFT * side, DRAFT * side))
        large = image.width * image.height > LARGE
        with turn if large and turn is not None else nullcontext():
            image.load()
            if _located(image):
                oddities |= {"located"}
            rgb = _to_rgb(_upright(image))
    except DAMAGE as error:
        return _damaged(kind, error)
    return rgb if isinstance(rgb, Fault) else Raster(rgb, kind, oddities)


def squared(rgb: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) to (3, S, S), uint8: Pillow's bilinear filter, which is what stock processors use.

    The shape is not kept: a wide image becomes narrower.
    """
    if rgb.shape[:2] == (side, side):
        return np.ascontiguousarray(rgb.transpose(2, 0, 1))
    small = Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def too_many_bytes(size: int) -> Fault | None:
    """The fault of an image of this size (bytes), asked before it is read."""
    if size <= MOST_BYTES:
        return None
    message = f"the image has {size} bytes; at most {MOST_BYTES} are read."
    return Fault(44, "reject", message, "Make it smaller.")


def _unreadable(data: bytes) -> Fault | None:
    if not data:
        return Fault(40, "quarantine", "the image is empty (0 bytes).", "Copy it again.")
    fault = too_many_bytes(len(data))
    if fault is not None or format_of(data) is not None:
        return fault
    message = f"not an image that can be read: it is {_what(data[:512])}."
    fix = "Convert it to PNG, JPEG, WebP, BMP, GIF or TIFF, or leave it out."
    return Fault(41, "quarantine", message, fix)


def _what(head: bytes) -> str:
    known = next((what for at, magic, what in _FOREIGN if head[at:].startswith(magic)), None)
    if known is not None:
        return known
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")):
        return "a web page (a failed download?)"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    if printable == len(head):
        return f'text ("{shown(head[:40].decode("ascii"))}")'
    return f"unknown data (first bytes {head[:8].hex(' ')})"


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP file declares, from its first chunk."""
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _too_large(width: int, height: int) -> Fault | None:
    if width * height <= MOST_PIXELS:
        return None
    message = f"the image has {width} x {height} pixels; at most {MOST_PIXELS} in all are read."
    return Fault(43, "reject", message, "Make it smaller.")


def _oddities(image: ImageFile.ImageFile) -> frozenset[Oddity]:
    found: set[Oddity] = set()
    if getattr(image, "is_animated", False):
        found.add("animated")
    if max(image.size) >= THIN * min(image.size):
        found.add("thin")
    if min(image.size) < TINY:
        found.add("tiny")
    return frozenset(found)


def _located(image: ImageFile.ImageFile) -> bool:
    """Whether its EXIF block says where it was taken."""
    try:
        place = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    except DAMAGE:
        return False
    return ExifTags.GPS.GPSLatitude in place and ExifTags.GPS.GPSLongitude in place


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    """The image turned as its EXIF block says; TIFF's reader has done so already."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGE:
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> np.ndarray | Fault:
    if image.mode.startswith("I") or image.mode == "F":
        grey = _sixteen_bits(image)
        return grey if isinstance(grey, Fault) else np.repeat(grey[:, :, None], 3, 2)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, _in_mode(image, "RGBA"))
    # a copy: Pillow's memory goes with the image
    return np.array(_in_mode(image, "RGB"))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # which copies in any case


def _sixteen_bits(image: Image.Image) -> np.ndarray | Fault:
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        message = f"its pixels are {image.mode} numbers without a known white."
        return Fault(45, "quarantine", message, "Save it with 8 or 16 bits a channel.")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _damaged(kind: Format, error: BaseException) -> Fault:
    if "MAX_TEXT" in str(error):
        message = f"the {kind} image holds more text beside its pixels than is read."
        return Fault(44, "reject", message, "Save it without metadata.")
    reason = shown(str(error).strip().splitlines()[0] if str(error).strip() else "cut off")
    message = f"the {kind} image is damaged or cut off ({reason})."
    return Fault(42, "quarantine", message, "Copy or download it again.")
