"""CLIP: images and texts in one space, with the numbers of sentence-transformers, which reads the same files by path.

The towers are tiny and random: what is shown is that files, preprocessing and layout are read right, not that such a
model finds anything. Controls show that the comparison notices a wrong turn, mean or colour.
"""

from __future__ import annotations

import base64
import io
import socket
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

from pgsbert.errors import ImageError, ModelLoadError
from pgsbert.models import engine
from pgsbert.models.engine import TorchImageEncoder
from pgsbert.models.images import decode
from pgsbert.models.load import Runtime, inspect, load
from pgsbert.models.onnx.export import export
from pgsbert.models.sbert import load_encoder
from pgsbert.types import Model
from tests import clip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pgsbert.types import Vectors

FILES = clip.files()
TEXTS = [*clip.CAPTIONS, "a red bicycle " * 40, "", " ", "naïve café 東京 🦊"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep torch from splitting such small sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["present", "hub"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip.make(tmp_path_factory.mktemp("clip") / "model", request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TorchImageEncoder:
    return cast("TorchImageEncoder", load_encoder(str(folder), device="cpu"))


@pytest.fixture(scope="module")
def network(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write the images where sentence-transformers reads them by itself."""
    folder = tmp_path_factory.mktemp("images")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in FILES]


@pytest.fixture(scope="module")
def expected(network: SentenceTransformer, paths: list[Path]) -> Vectors:
    vectors: Vectors = network.encode([str(path) for path in paths], show_progress_bar=False)
    assert mean_cosine(vectors) < 0.9  # the images differ, so equality says something
    return vectors


def mean_cosine(vectors: Vectors) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float((unit @ unit.T)[~np.eye(len(unit), dtype=bool)].mean())


def is_same(ours: NDArray[Any], expected: NDArray[Any]) -> bool:
    cosine = (ours * expected).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(expected, axis=1)
    scale = max(1.0, float(np.abs(expected).max()))
    return bool(cosine.min() >= 0.99999 and np.abs(ours - expected).max() <= 1e-5 * scale)


def test_fifty_images_have_the_vectors_that_sentence_transformers_gives_their_paths(
    encoder: TorchImageEncoder, expected: Vectors
) -> None:
    ours = encoder.encode_images(list(FILES.values()))
    assert ours.dtype == np.float32
    assert ours.shape == (50, clip.DIMENSIONS)
    assert is_same(ours, expected)


def test_an_image_and_its_own_vector_are_each_others_nearest(encoder: TorchImageEncoder) -> None:
    stored = encoder.encode_images(list(FILES.values()))
    asked = np.concatenate([encoder.encode_images([content]) for content in FILES.values()])
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    similarities = unit @ (asked / np.linalg.norm(asked, axis=1, keepdims=True)).T
    assert similarities.argmax(axis=0).tolist() == similarities.argmax(axis=1).tolist() == list(range(50))


def test_texts_have_the_vectors_that_sentence_transformers_gives_them(
    encoder: TorchImageEncoder, network: SentenceTransformer
) -> None:
    reference: Vectors = network.encode(TEXTS, show_progress_bar=False)
    assert mean_cosine(reference) < 0.9
    assert is_same(encoder.encode(TEXTS), reference)


def as_it_lies(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def mirrored(content: bytes) -> Image.Image:
    return decode(content).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def in_other_colours(content: bytes) -> Image.Image:
    return Image.merge("RGB", decode(content).split()[::-1])


@pytest.mark.parametrize("wrong", [as_it_lies, mirrored, in_other_colours])
def test_control_wrongly_decoded_images_fail_the_comparison(
    encoder: TorchImageEncoder, expected: Vectors, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    monkeypatch.setattr(engine, "decode", wrong)
    assert not is_same(encoder.encode_images(list(FILES.values())), expected)


def test_control_another_mean_or_size_fails_the_comparison(folder: Path, expected: Vectors) -> None:
    for setting, value in (("image_mean", [0.5, 0.5, 0.5]), ("resample", Image.Resampling.NEAREST)):
        encoder = cast("TorchImageEncoder", load_encoder(str(folder), device="cpu"))
        processor: Any = encoder._network[0].processor
        assert getattr(processor.image_processor, setting) != value
        setattr(processor.image_processor, setting, value)
        assert not is_same(encoder.encode_images(list(FILES.values())), expected), setting


def test_both_layouts_have_the_same_numbers(tmp_path: Path) -> None:
    images = list(FILES.values())[:5]
    first, second = (load_encoder(str(clip.make(tmp_path / layout, layout))) for layout in ("present", "hub"))
    assert isinstance(first, TorchImageEncoder)
    assert isinstance(second, TorchImageEncoder)
    assert np.abs(first.encode_images(images) - second.encode_images(images)).max() <= 1e-5
    assert np.abs(first.encode(TEXTS) - second.encode(TEXTS)).max() <= 1e-5


def test_the_model_says_what_to_register(folder: Path) -> None:
    model = inspect(str(folder))
    assert (model.kind, model.dimensions, model.max_tokens) == ("bi-encoder", clip.DIMENSIONS, 32)
    assert model.modalities == ["text", "image"]
    assert model.takes_images


def test_it_runs_on_torch_and_says_why(folder: Path, tmp_path: Path) -> None:
    registered = Model(name=str(folder), kind="bi-encoder", modalities=["text", "image"])
    loaded = load(registered)
    assert loaded.engine == f"torch: {folder} takes images, and runs on torch alone (pgsbert[worker])."
    with pytest.raises(ModelLoadError, match="takes images, and runs on torch alone"):
        load(registered, Runtime(engine="onnx"))
    with pytest.raises(ModelLoadError, match="takes images, and runs on torch alone"):
        export(folder, tmp_path, "a model")


def test_a_model_that_takes_text_only_is_not_loaded_for_images(minilm: Path) -> None:
    with pytest.raises(ModelLoadError, match="is registered for images, but takes text only"):
        load(Model(name=str(minilm), kind="bi-encoder", modalities=["text", "image"]), Runtime(engine="torch"))


def test_no_images_give_no_vectors_of_the_right_width(encoder: TorchImageEncoder) -> None:
    assert encoder.encode_images([]).shape == (0, clip.DIMENSIONS)


def test_one_bad_image_raises_and_its_neighbours_are_whole_without_it(
    encoder: TorchImageEncoder, expected: Vectors
) -> None:
    images = list(FILES.values())
    with pytest.raises(ImageError, match="is damaged"):
        encoder.encode_images([*images[:3], images[4][: len(images[4]) // 2], images[5]])
    assert is_same(encoder.encode_images(images[:3]), expected[:3])


def test_few_large_images_are_held_at_a_time(encoder: TorchImageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    encode = encoder._encode

    def counted(images: Sequence[Any]) -> Vectors:
        held.append(len(images))
        return encode(images)

    monkeypatch.setattr(encoder, "_encode", counted)
    monkeypatch.setattr(engine, "MOST_PIXELS", 2 * 300 * 200)
    large = [clip.encoded(clip.picture(number).resize((300, 200)), "JPEG") for number in range(5)]
    small = [clip.encoded(clip.picture(number).resize((30, 20)), "JPEG") for number in range(20)]
    encoder.encode_images([*large, *small])
    assert held == [16, 4, 2, 2, 1]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def test_a_text_that_is_an_address_or_a_path_is_embedded_as_a_text_and_never_opened(
    encoder: TorchImageEncoder, network: SentenceTransformer, paths: list[Path], listener: socket.socket
) -> None:
    image = paths[0]
    inline = "data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode()
    hostile = [
        str(image),
        f"file://{image}",
        inline,
        f"http://127.0.0.1:{listener.getsockname()[1]}/cat.png",
        "https://127.0.0.1:1/cat.jpg",
        "/etc/passwd",
        "http://[bad/x.png",
    ]
    [picture] = encoder.encode_images([image.read_bytes()])
    # control: sentence-transformers, given the same strings, opens the path and the inline image
    opened: Vectors = network.encode([str(image), inline], show_progress_bar=False)
    assert np.abs(opened - picture).max() <= 1e-5 * max(1.0, float(np.abs(picture).max()))
    ours = encoder.encode(hostile)
    as_texts: Vectors = network.encode([{"text": text} for text in hostile], show_progress_bar=False)
    assert is_same(ours, as_texts)
    assert np.abs(ours - picture).max(axis=1).min() > 0.01
    with pytest.raises(BlockingIOError):
        listener.accept()
