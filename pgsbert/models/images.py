"""Decode image files from rows: three formats, upright, RGB, and never more pixels than are allowed."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from pgsbert.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP")  # what browsers show; each further decoder is one more to attack
MOST_PIXELS = 64 * 2**20  # 192 MiB as RGB
MOST_STRETCHED = 200  # times as long as wide: scaled to 224 pixels of width, such an image would be a bomb too


def decode(data: bytes) -> Image:
    """Return the image in an RGB of its own, turned as its EXIF orientation says.

    The same pixels as transformers' load_image gives; an animation gives its first frame, transparency is dropped.
    Raises ImageError for other formats, damaged or truncated files, and too many pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        # its own limit lies above ours, and warns only
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            _check_size(*image.size)
            return ImageOps.exif_transpose(image).convert("RGB")
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"The image has more pixels than the {MOST_PIXELS} that are read: scale it down.") from error
    except UnidentifiedImageError as error:
        raise ImageError("The bytes are no image that can be read: it must be a JPEG, PNG or WebP.") from error
    except Exception as error:  # decoders raise what they meet: OSError, SyntaxError, struct.error, EOFError
        raise ImageError(f"The image is damaged: {type(error).__name__}: {error}.") from error


def pixels(data: bytes) -> int:
    """Return how many pixels an image says it has, reading no more than its header; 0 where it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return image.width * image.height
    except Exception:  # decode() says what is wrong
        return 0


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ImageError(
            f"The image has {width} x {height} pixels, more than the {MOST_PIXELS} that are read: scale it down."
        )
    if max(width, height) > MOST_STRETCHED * min(width, height):
        raise ImageError(
            f"The image has {width} x {height} pixels: it must be at most {MOST_STRETCHED} times as long as wide."
        )
