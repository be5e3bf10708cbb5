import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageFile

from headstart.data import picture
from headstart.data.picture import Fault, Raster, decode, squared
from pictures import BLUE, GREEN, RED, WHITE, corners, encoded, photo, png_chunk

ORIENTATION = 0x0112
LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("GIF", {})]
# how a camera stores an upright image under each orientation: the turn that undoes the mark
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def pixels(data, **options):
    found = decode(data, **options)
    assert isinstance(found, Raster), found
    return found.rgb


def fault(data):
    found = decode(data)
    assert isinstance(found, Fault)
    return f"{found.outcome} {found.number}: {found.message} {found.fix}"


def quarters(rgb):
    height, width = rgb.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    return [tuple(int(v) for v in rgb[y, x]) for y in rows for x in columns]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_a_lossless_format_gives_back_its_pixels(kind, options):
    found = decode(encoded(corners(), kind, **options))
    assert np.array_equal(found.rgb, np.asarray(corners()))
    assert found.format.upper() == kind
    assert not found.oddities


def test_a_jpeg_gives_back_its_colours_nearly():
    rgb = pixels(encoded(corners(), "JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(np.asarray(quarters(rgb)) - [RED, GREEN, BLUE, WHITE]).max() <= 3


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_upright_once(kind, orientation):
    turn = STORED[orientation]
    stored = corners() if turn is None else corners().transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    rgb = pixels(encoded(stored, kind, exif=exif, **options.get(kind, {})))
    assert rgb.shape == (16, 24, 3)
    assert np.abs(rgb.astype(int) - np.asarray(corners())).max() <= 4


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("L", [(0, 0), (128, 128), (255, 255)]),
        ("1", [(0, 0), (255, 255)]),
        ("I;16", [(0, 0), (257 * 77, 77), (32768, 128), (65535, 255)]),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_any_depth_becomes_equal_red_green_and_blue(kind, mode, values):
    for stored, shown in values:
        rgb = pixels(encoded(Image.new(mode, (9, 9), stored), kind))
        assert np.array_equal(np.unique(rgb), [shown])


def test_big_endian_16_bit_tiff_is_read_alike():
    grey = np.full((9, 9), 257 * 200, dtype=">u2")
    image = Image.frombytes("I;16B", (9, 9), grey.tobytes())
    assert np.array_equal(np.unique(pixels(encoded(image, "TIFF"))), [200])


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    grey = Image.new("LA", (8, 8), (0, 0))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert pixels(encoded(clear))[0, 0].tolist() == [255, 255, 255]
    assert pixels(encoded(half))[0, 0].tolist() == [255, 127, 127]
    assert pixels(encoded(grey))[0, 0].tolist() == [255, 255, 255]
    assert pixels(encoded(palette))[0, 0].tolist() == [0, 0, 255]
    assert pixels(encoded(palette, transparency=bytes([255, 0])))[0, 0].tolist() == [255] * 3
    assert pixels(encoded(palette, transparency=bytes([0, 255])))[0, 0].tolist() == [0, 0, 255]
    colour_key = encoded(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))
    assert pixels(colour_key)[0, 0].tolist() == [255, 255, 255]


def test_cmyk_becomes_rgb():
    for ink, shown in [((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0,) * 3)]:
        data = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
        assert np.abs(pixels(data)[8, 8].astype(int) - shown).max() <= 4


def test_floats_have_no_white_and_are_set_aside():
    assert fault(encoded(Image.new("F", (9, 9), 0.5), "TIFF")) == (
        "quarantine 45: its pixels are F numbers without a known white. "
        "Save it with 8 or 16 bits a channel."
    )


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_used_and_remarked_on(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    found = decode(data)
    assert found.rgb[8, 8].tolist() == list(RED)
    assert found.oddities == {"animated"}


def test_thin_and_tiny_images_are_remarked_on():
    assert decode(encoded(Image.new("RGB", (1, 5000)))).oddities == {"thin", "tiny"}
    assert decode(encoded(Image.new("RGB", (1, 1)))).oddities == {"tiny"}
    assert decode(encoded(Image.new("RGB", (8, 100)))).oddities == set()


FOREIGN = [
    (b"<!DOCTYPE html><html>404", "a web page (a failed download?)"),
    (b"<?xml version='1.0'?><svg>", "an SVG drawing"),
    (b"8BPS\0\1" + bytes(30), "a Photoshop file"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
    (b"SIMPLE  =    T", "a FITS image"),
    (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIC image"),
    (b"\0\0\0\x18ftypavif" + bytes(20), "an AVIF image"),
    (b"Not found\n", 'text ("Not found\\x0a")'),
    (b"\x07\x08\x09\xfe\xff\x00\x01\x02\x03", "unknown data (first bytes 07 08 09 fe ff 00 01 02)"),
]


@pytest.mark.parametrize(("data", "what"), FOREIGN)
def test_what_is_no_image_is_named(data, what):
    assert fault(data) == (
        f"quarantine 41: not an image that can be read: it is {what}. "
        "Convert it to PNG, JPEG, WebP, BMP, GIF or TIFF, or leave it out."
    )


def test_an_empty_file_is_set_aside():
    assert fault(b"") == "quarantine 40: the image is empty (0 bytes). Copy it again."


def test_a_bomb_is_refused_by_its_header(monkeypatch):
    data = encoded(Image.new("1", (13_000, 13_000)))
    assert len(data) < 25_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)  # decoding it would fail
    assert fault(data) == (
        "reject 43: the image has 13000 x 13000 pixels; at most 67108864 in all are read. "
        "Make it smaller."
    )


@pytest.mark.parametrize(
    ("chunk", "body"),
    [
        (b"VP8X", bytes(4) + (16382).to_bytes(3, "little") * 2),
        (b"VP8L", b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + bytes(5)),
        (b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383)),
    ],
)
def test_a_webp_bomb_is_refused_before_its_reader_sees_it(chunk, body, monkeypatch):
    data = b"RIFF" + struct.pack("<I", 100) + b"WEBP" + chunk + struct.pack("<I", 10) + body
    monkeypatch.setitem(picture._READERS, "WebP", None)
    assert fault(data + bytes(80)).startswith("reject 43: the image has 16383 x 16383 pixels;")


def test_the_size_in_a_webp_header_is_read_as_its_reader_reads_it():
    for options in ({"lossless": True}, {"quality": 80}, {"lossless": True, "exif": b"Exif\0\0"}):
        assert picture._webp_size(encoded(corners(), "WEBP", **options)) == (24, 16)


def test_too_many_bytes_are_refused(monkeypatch):
    monkeypatch.setattr(picture, "MOST_BYTES", 50)
    data = encoded(corners())
    assert fault(data) == (
        f"reject 44: the image has {len(data)} bytes; at most 50 are read. Make it smaller."
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_cut_image_is_set_aside_at_every_length(kind):
    data = encoded(photo(), kind)
    # a TIFF may have its directory at the end, and the last bytes of some formats say nothing
    for length in np.linspace(17, 0.9 * len(data), 60).astype(int):
        found = decode(data[:length])
        assert isinstance(found, Fault), length
        assert (found.outcome, found.number) == ("quarantine", 42)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_no_damage_raises(kind):
    data = encoded(photo(), kind)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        hurt = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            hurt[place] ^= 1 << rng.integers(0, 8)
        outcomes.add(type(decode(bytes(hurt))))
    assert Fault in outcomes


def test_broken_metadata_is_passed_over():
    plain = encoded(corners())
    strange = (
        plain[:33] + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe\xfd") + plain[33:]
    )
    garbled = encoded(
        corners(), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff"
    )
    assert np.array_equal(pixels(strange), np.asarray(corners()))
    assert np.abs(pixels(garbled).astype(int) - np.asarray(corners())).max() <= 4


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    data = encoded(photo(width=640, height=480), "JPEG", quality=90)
    small = pixels(data, side=16)
    assert small.shape == (120, 160, 3)
    whole = pixels(data)
    assert whole.shape == (480, 640, 3)
    apart = squared(small, 16).astype(int) - squared(whole, 16)
    assert np.abs(apart).max() <= 4


def test_squared_images_are_channel_first_and_keep_their_corners():
    found = squared(np.asarray(corners()), 8)
    assert found.shape == (3, 8, 8)
    assert quarters(found.transpose(1, 2, 0)) == [RED, GREEN, BLUE, WHITE]
    same = np.asarray(photo(width=8, height=8))
    assert np.array_equal(squared(same, 8), same.transpose(2, 0, 1))


def test_reading_gives_pixels_that_do_not_change_with_the_bytes():
    place = io.BytesIO(encoded(corners(), "BMP"))
    rgb = pixels(place.getvalue())
    before = rgb.copy()
    place.write(bytes(100))
    assert np.array_equal(rgb, before)
