"""Tiny random CLIP models in the layouts they come in, and pictures of every kind that a camera or a browser makes."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import transformers
from PIL import Image, ImageDraw
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers.convert_slow_tokenizer import bytes_to_unicode

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 64  # pixels that the model looks at in each direction
DIMENSIONS = 24
CAPTIONS = [
    f"{article} {colour} {thing}"
    for article in ("a", "the", "a photo of a")
    for colour in ("red", "green", "blue", "old", "small")
    for thing in ("bicycle", "cat", "house by the sea", "tree", "loaf of bread")
]
Layout = Literal["present", "hub"]
TRANSPOSED = range(1, 9)  # the values of EXIF's orientation
ORIENTATION = 0x0112


MERGES = [
    ("r", "e"),
    ("re", "d</w>"),
    ("c", "a"),
    ("ca", "t</w>"),
    ("b", "l"),
    ("t", "h"),
    ("th", "e</w>"),
    ("e", "e</w>"),
]


def tokenizer() -> Any:
    """Make a tokenizer of bytes and a few merges; a trained one would number its tokens anew each time."""
    letters = sorted(bytes_to_unicode().values())  # type: ignore[no-untyped-call]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [first + second for first, second in MERGES]
    tokenizer: Any = transformers.CLIPTokenizer
    return tokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=MERGES, model_max_length=32)


def network(folder: Path, known: Any) -> Path:
    """Save random towers for text and images as transformers does; std 0.3, or all inputs would be alike."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config={
            **size,
            "vocab_size": len(known),
            "max_position_embeddings": 32,
            "bos_token_id": known.bos_token_id,
            "eos_token_id": known.eos_token_id,
            "pad_token_id": known.pad_token_id,
        },
        vision_config={**size, "image_size": SIDE, "patch_size": 16},
        projection_dim=DIMENSIONS,
    )
    torch.manual_seed(21)
    towers = transformers.CLIPModel(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in towers.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3)
    towers.save_pretrained(folder)
    return folder


def present(folder: Path) -> Path:
    """Save as the installed sentence-transformers saves."""
    known = tokenizer()
    network(folder / "towers", known)
    looking = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    processor: Any = transformers.CLIPProcessor
    processor(image_processor=looking, tokenizer=known).save_pretrained(folder / "towers")
    model = SentenceTransformer(modules=[Transformer(str(folder / "towers"))], device="cpu")
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


def hub(folder: Path) -> Path:
    """Write the files of clip-ViT-B-32 as it lies on the hub: a class and a preprocessor of their time."""
    known = tokenizer()
    inner = network(folder / "saved" / "0_CLIPModel", known)
    known.backend_tokenizer.model.save(str(inner))  # vocab.json and merges.txt
    settings: dict[str, dict[str, object] | list[object]] = {
        "saved/modules.json": [
            {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
        ],
        "saved/config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.0.0"}},
        "saved/0_CLIPModel/tokenizer_config.json": {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 32,
            "bos_token": known.bos_token,
            "eos_token": known.eos_token,
            "unk_token": known.unk_token,
            "pad_token": known.pad_token,
            "do_lower_case": True,
            "errors": "replace",
            "add_prefix_space": False,
        },
        "saved/0_CLIPModel/preprocessor_config.json": {
            "feature_extractor_type": "CLIPFeatureExtractor",
            "size": SIDE,
            "crop_size": SIDE,
            "resample": 3,
            "do_resize": True,
            "do_center_crop": True,
            "do_normalize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    }
    for name, content in settings.items():
        (folder / name).write_text(json.dumps(content, indent=2))
    return folder / "saved"


def make(folder: Path, layout: Layout) -> Path:
    """Make a model in that layout; both have the same weights and give the same numbers."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return present(folder) if layout == "present" else hub(folder)


def picture(number: int) -> Image.Image:
    """Draw something that is like no other number, and like none of its own mirror images."""
    random = np.random.default_rng(number)
    width, height = (int(side) for side in random.integers(40, 200, 2))
    image = Image.new("RGB", (width, height), tuple(int(part) for part in random.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = random.uniform(0, 0.8, 2) * (width, height)
        right, bottom = left + random.uniform(5, width / 2), top + random.uniform(5, height / 2)
        shape = draw.ellipse if random.integers(2) else draw.rectangle
        shape((left, top, right, bottom), fill=tuple(int(part) for part in random.integers(0, 256, 3)))
    return image


def encoded(image: Image.Image, form: str, *, orientation: int | None = None, **options: Any) -> bytes:
    """Return the file of an image."""
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """Return fifty different images by name: three formats, every orientation, every mode of pixels."""
    found = {
        f"turned-{orientation}.{form.lower()}": encoded(
            picture(10 * orientation + place), form, orientation=orientation
        )
        for orientation in TRANSPOSED
        for place, form in enumerate(("JPEG", "PNG", "WEBP"))
    }
    drawn = iter(picture(number) for number in range(100, 200))
    found |= {f"{mode}.jpeg": encoded(next(drawn).convert(mode), "JPEG") for mode in ("L", "CMYK", "YCbCr")}
    found |= {f"{mode}.png": encoded(next(drawn).convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")}
    found["sixteen-bits.png"] = encoded(Image.fromarray(np.asarray(next(drawn).convert("L"), dtype=np.uint16)), "PNG")
    found["cmyk-turned.jpeg"] = encoded(next(drawn).convert("CMYK"), "JPEG", orientation=6)
    found["progressive.jpeg"] = encoded(next(drawn), "JPEG", progressive=True, quality=60)
    found["transparent.webp"] = encoded(next(drawn).convert("RGBA"), "WEBP")
    found["lossless.webp"] = encoded(next(drawn), "WEBP", lossless=True)
    moving = [next(drawn).resize((90, 60)) for _ in range(3)]
    found["moving.webp"] = encoded(moving[0], "WEBP", save_all=True, append_images=moving[1:])
    found["wide.png"] = encoded(next(drawn).resize((900, 9)), "PNG")
    found |= {f"plain-{number}.jpeg": encoded(next(drawn), "JPEG") for number in range(50 - len(found))}
    assert len(found) == len(set(found.values())) == 50
    return found
