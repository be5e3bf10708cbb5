"""Which encoding a file has: found from its bytes, never assumed.

In: the first bytes, or a stream that failed to decode. Out: a codec name, or the problem with the
byte's offset and the encoding that would fit.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from headstart.data.record import Problem, problem
from headstart.errors import InputError

CHUNK = 1 << 20
SURE = 8  # characters beyond ASCII: of GBK, one in twelve looks like UTF-8, of eight none
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_MAGIC = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive (an .xlsx spreadsheet or a .docx document is one)"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.xls or .doc)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "gzip inside gzip"),
)

_EAST_ASIAN = ("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
_COMMON = frozenset(
    "，。、！？：「」的一是不了我在有人这這他她们們个個上来來到时時大地为為子中你说說生国國年"
    "着著就那和要出也得里裡后後自以会會家可下而过過天去能对對小多然于於心学學么麼之都好看起发發当當没沒"
    "이다는의에을가를은한하고도지로사기서인"
)


def foreign_format(head: bytes) -> str | None:
    """What a file that is no text is, by its first kilobyte."""
    known = next((what for magic, what in _MAGIC if head.startswith(magic)), None)
    if known is not None:
        return known
    wide = marked_encoding(head) in ("utf-16", "utf-32") or unmarked_utf16(head) is not None
    if wide or head.count(0) <= 0.1 * len(head):
        return None
    return "a tar archive" if head[257:262] == b"ustar" else "binary data"


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark declares."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark, betrayed by a zero in every other byte of Latin text."""
    if len(head) < 8:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.3 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.3 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None


def surely_utf8(head: bytes, *, wide: bool) -> bool:
    """Whether the bytes are UTF-8 and by no chance anything else.

    wide: whether they would otherwise be UTF-16 or -32, which even plain ASCII is not.
    """
    letters = sum(byte >= 0xC0 for byte in head)  # the first byte of each character beyond ASCII
    return (wide or letters >= SURE) and 0 not in head and _reads(head, "utf-8")


def checked_encoding(name: str) -> str:
    """The codec of this name. Raises InputError when Python has none for text."""
    try:
        info = codecs.lookup(name)
    except LookupError:
        info = None
    if info is None or not info._is_text_encoding:
        raise InputError(
            f"encoding: {name!r} is not known. Use a name like utf-8, cp1252, latin-1, gb18030, "
            "big5, shift_jis or utf-16-le."
        )
    return info.name


def decoding_problem(chunks: Iterator[bytes], encoding: str, *, source: str) -> Problem | None:
    """The first byte that the encoding cannot read, found by going through the stream again."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    done, lines = 0, 1
    for chunk in chunks:
        waiting = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            at = done - waiting + error.start
            inside = max(0, error.start - waiting)
            lines += chunk[:inside].count(b"\n")
            return _bad_byte(error.object, error.start, at, lines, encoding, source)
        lines += chunk.count(b"\n")
        done += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return _bad_byte(error.object, error.start, done - 1, lines, encoding, source)
    return None


def _bad_byte(
    data: bytes, place: int, offset: int, line: int, encoding: str, source: str
) -> Problem:
    likely = likely_encoding(data[max(0, place - 4096) : place + 4096], but=encoding)
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    return problem(
        1,
        "reject",
        source=source,
        line=line,
        value=f"0x{data[place]:02x}",
        message=(
            f"byte 0x{data[place]:02x} at offset {offset} is not {name}; "
            f"the file looks like {likely}."
        ),
        fix=_fix(likely),
    )


def unmarked_problem(likely: str, *, source: str) -> Problem:
    """UTF-16 that does not say so."""
    return problem(
        1,
        "reject",
        source=source,
        message=f"the file looks like {likely} without a byte order mark.",
        fix=_fix(likely),
    )


def _fix(likely: str) -> str:
    """What every verb that reads data takes."""
    return f"Convert it to UTF-8, or add --set data.encoding={likely}."


def likely_encoding(data: bytes, *, but: str = "utf-8") -> str:
    """A guess for bytes from the middle of a text, to suggest and never to use unasked.

    but: the codec that cannot read them.
    """
    if not but.startswith("utf-8") and _reads(data.lstrip(bytes(range(0x80, 0xC0))), "utf-8"):
        return "utf-8"
    mostly = sum(byte >= 0x80 for byte in data) >= 0.2 * len(data)
    # in shift_jis a Western quote and a letter are a character, and one of the commonest
    names = [name for name in _EAST_ASIAN if name != but and (mostly or name != "shift_jis")]
    shares = {name: _common_share(data, name) for name in names}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > 0.15:
        return best
    if any(0x80 <= byte <= 0x9F for byte in data) and _reads(data, "cp1252"):
        return "cp1252"
    return "latin-1"


def _reads(data: bytes, name: str) -> bool:
    """Whether the codec reads the bytes, of which the last character may be cut."""
    try:
        codecs.getincrementaldecoder(name)(errors="strict").decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _common_share(data: bytes, name: str) -> float:
    """Share of the characters beyond ASCII that are among the commonest when read so."""
    text = data.decode(name, errors="replace")
    beyond = [letter for letter in text if letter > "\x7f"]
    if not beyond or text.count("\ufffd") > 2 + 0.01 * len(beyond):
        return 0.0
    common = sum(letter in _COMMON or "\u3041" <= letter <= "\u30fe" for letter in beyond)
    return common / len(beyond)


def in_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's bytes, a mebibyte at a time."""
    while chunk := stream.read(CHUNK):
        yield chunk
