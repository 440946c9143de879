"""What comes out of a row may be anything: it is an image of three formats and of bounded size, or an ImageError."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgsbert.errors import ImageError
from pgsbert.failures import is_permanent
from pgsbert.models import images
from pgsbert.models.images import decode, pixels
from tests import clip

FORMATS = ("JPEG", "PNG", "WEBP")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *chunks: bytes, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", clip.TRANSPOSED)
def test_an_image_stands_upright_whatever_the_camera_wrote(form: str, orientation: int) -> None:
    upright = clip.picture(3)
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    lying = upright if stored is None else upright.transpose(stored)
    options: Any = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(form, {})
    found = decode(clip.encoded(lying, form, orientation=orientation, **options))
    assert (found.mode, found.size) == ("RGB", upright.size)
    difference = np.abs(np.asarray(found, dtype=int) - np.asarray(upright, dtype=int)).mean()
    assert difference < (6 if form == "JPEG" else 1e-9)


def test_cmyk_becomes_the_colours_it_prints() -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert np.abs(np.asarray(decode(clip.encoded(red, "JPEG")), dtype=int) - (255, 0, 0)).max() <= 4


NO_IMAGES = {
    "nothing": b"",
    "a text": b"a photo of a cat",
    "a path": b"/etc/passwd",
    "zeros": bytes(1000),
    "GIF": clip.encoded(clip.picture(1), "GIF"),
    "TIFF": clip.encoded(clip.picture(1), "TIFF"),
    "BMP": clip.encoded(clip.picture(1), "BMP"),
    "PDF": clip.encoded(clip.picture(1), "PDF"),
    "EPS": clip.encoded(clip.picture(1), "EPS"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/x.png"/></svg>',
    "a header alone": b"\x89PNG\r\n\x1a\n",
    "a JPEG's first bytes": b"\xff\xd8\xff\xe0",
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_what_is_no_jpeg_png_or_webp_is_refused(what: str) -> None:
    with pytest.raises(ImageError) as refused:
        decode(NO_IMAGES[what])
    assert is_permanent(refused.value)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.98])
def test_a_truncated_file_is_refused(form: str, share: float) -> None:
    content = clip.encoded(clip.picture(5), form)
    with pytest.raises(ImageError):
        decode(content[: int(len(content) * share)])


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_is_an_image_or_an_image_error_and_nothing_else(form: str) -> None:
    random = np.random.default_rng(7)
    content = clip.encoded(clip.picture(8), form, orientation=6)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 4):
            damaged[place] = random.integers(256)
        pixels(bytes(damaged))
        try:
            assert decode(bytes(damaged)).mode == "RGB"
        except ImageError:
            refused += 1
    assert refused > 0


BOMBS = {
    "many pixels": (png(12_000, 12_000), "12000 x 12000 pixels, more than the 67108864"),
    "more pixels": (png(60_000, 60_000), "more pixels than the 67108864"),
    "no number for them": (png(2**31 - 1, 2**31 - 1), "more pixels than the 67108864"),
    "just too many": (png(8193, 8193), "8193 x 8193 pixels, more than"),
    "stretched": (png(1_000_000, 3), "1000000 x 3 pixels: it must be at most 200 times"),
    "stretched upwards": (png(1, 201), "1 x 201 pixels: it must be at most 200 times"),
    "a text that expands": (
        png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000))), rows=bytes(72)),
        "is damaged",
    ),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, message = BOMBS[what]
    assert len(content) < 200_000
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ImageError, match=message) as refused:
        decode(content)
    assert is_permanent(refused.value)


def test_as_many_pixels_as_are_allowed_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 100 * 50)
    assert decode(clip.encoded(Image.new("L", (100, 50)), "PNG")).size == (100, 50)
    with pytest.raises(ImageError, match="101 x 50 pixels, more than the 5000"):
        decode(clip.encoded(Image.new("L", (101, 50)), "PNG"))


def test_memory_that_is_not_there_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(MemoryError):
        decode(clip.encoded(clip.picture(1), "PNG"))


def test_pixels_are_counted_by_the_header() -> None:
    assert pixels(png(12_000, 12_000)) == 144_000_000
    assert pixels(clip.encoded(Image.new("L", (30, 20)), "JPEG")) == 600
    assert pixels(b"a text") == 0
