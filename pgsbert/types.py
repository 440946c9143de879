"""The values that cross module borders: plain, frozen, without behaviour that waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NewType, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]  # shape (n, dimensions)
    Scores: TypeAlias = NDArray[np.float32]  # shape (n,)
    Probabilities: TypeAlias = NDArray[np.float32]  # shape (n, labels), each row sums to 1

Revision = NewType("Revision", int)
VectorizerId = NewType("VectorizerId", int)

ModelKind = Literal["bi-encoder", "cross-encoder", "classifier"]
Service = Literal["rows", "embed", "rerank"]
Engine = Literal["auto", "onnx", "torch"]
OnTruncate = Literal["accept", "refuse"]


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model: what the database knows about it, never where its files are.

    ``hash`` is the SHA-256 of the weights in hexadecimal, ``dimensions`` the length of an embedding (of a bi-encoder
    only), ``max_tokens`` where texts are truncated, the prompts are put before every text, ``labels`` are the names
    of the classes in the order of the output (of a classifier only), ``modalities`` are text, and perhaps image.
    """

    name: str
    kind: ModelKind
    revision: str | None = None
    hash: str | None = None
    dimensions: int | None = None
    max_tokens: int | None = None
    similarity: str | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    labels: list[str] | None = None
    modalities: list[str] = field(default_factory=lambda: ["text"])

    @property
    def takes_images(self) -> bool:
        """Whether it embeds images beside texts, in one space: it is an ImageEncoder."""
        return "image" in self.modalities


@dataclass(frozen=True, slots=True)
class Counted:
    """The embeddings of some texts, and how many tokens each text has as a whole.

    ``tokens``: int64 of shape (n,), the model's own count, special tokens included. A text with more than ``limit``
    was truncated (None: the model takes any length).
    """

    vectors: Vectors
    tokens: NDArray[np.int64]
    limit: int | None


class Encoder(Protocol):
    """A bi-encoder: two texts apart, one vector each (Reimers and Gurevych 2019)."""

    @property
    def model(self) -> Model:
        """What was loaded, as it would be registered: dimensions, tokens and hash read from the files."""
        ...

    @property
    def engine(self) -> str:
        """What runs it, for pgsbert.models: onnx, torch (and why not onnx), or fake."""
        ...

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return one float32 embedding a text, shape (len(texts), dimensions), in the order of ``texts``.

        Prompts are the caller's: texts are encoded as given. Raises whatever the model raises.
        """
        ...

    def encode_counted(self, texts: Sequence[str], /) -> Counted:
        """Return the same embeddings with the token counts, of one and the same tokenisation."""
        ...

    def lengths(self, texts: Sequence[str], /) -> list[int]:
        """Return about how many tokens the network computes for each text; cheap, and safe beside inference."""
        ...


class ImageEncoder(Encoder, Protocol):
    """A bi-encoder of texts and images in one space (CLIP: Radford et al. 2021)."""

    def encode_images(self, images: Sequence[bytes], /) -> Vectors:
        """Return one float32 embedding an image file, shape (len(images), dimensions), in their order.

        Raises ImageError for a file that is no image or may not be opened, and whatever the model raises.
        """
        ...


class Reranker(Protocol):
    """A cross-encoder: both texts together, one score (Nogueira and Cho 2019)."""

    @property
    def model(self) -> Model:
        """What was loaded, as it would be registered."""
        ...

    @property
    def engine(self) -> str:
        """What runs it, for pgsbert.models: onnx, torch (and why not onnx), or fake."""
        ...

    def score(self, query: str, documents: Sequence[str], /) -> Scores:
        """Return one float32 relevance score a document, shape (len(documents),), higher is better."""
        ...


class Classifier(Protocol):
    """A cross-encoder with several labels: both texts together, a probability for each label (such as NLI)."""

    @property
    def model(self) -> Model:
        """What was loaded, as it would be registered, with its labels."""
        ...

    @property
    def engine(self) -> str:
        """What runs it, for pgsbert.models: onnx, torch (and why not onnx), or fake."""
        ...

    def classify(self, premise: str, hypotheses: Sequence[str], /) -> Probabilities:
        """Return float32 (len(hypotheses), labels): of each pair, how probable each label is."""
        ...


LoadedModel: TypeAlias = Encoder | Reranker | Classifier
