"""An image that stands in a table's cell as text: base64, plain or as a data address.

In: what a cell says. Out: the bytes of the image, or why there are none. Line breaks, the URL-safe
alphabet and missing padding are read; nothing else is guessed.
"""

from __future__ import annotations

import base64
import binascii
import re

from headstart.data.picture import Fault, too_many_bytes

_PREFIX = re.compile(r"\s*data:image/[\w.+-]+;base64,", re.IGNORECASE)
# how PNG, JPEG, GIF, WebP and TIFF begin in base64
_BEGINNINGS = ("iVBORw0KGgo", "/9j/", "_9j_", "R0lGOD", "UklGR", "SUkqA", "TU0AK")
_SHORTEST = 64  # characters; a shorter text is a name
_URL_SAFE = str.maketrans("-_", "+/")


def is_inline(cell: str) -> bool:
    """Whether a cell holds an image itself, not its path."""
    if _PREFIX.match(cell):
        return True
    return len(cell) >= _SHORTEST and cell.startswith(_BEGINNINGS) and "." not in cell[-6:]


def inline_bytes(cell: str) -> bytes | Fault:
    """The encoded image of such a cell."""
    body = "".join(_PREFIX.sub("", cell, count=1).split()).translate(_URL_SAFE).rstrip("=")
    fault = too_many_bytes(3 * len(body) // 4)
    if fault is not None:
        return fault
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        message = "the image is no valid base64: it was cut off, or holds other characters."
        return Fault(60, "quarantine", message, "Write it anew, or give a file.")
