"""What is registered is what runs: the same kind, weights, dimensions and labels, or an error that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError
from pgsbert.models.resolve import dimensions_in

if TYPE_CHECKING:
    from pgsbert.types import Model, ModelKind


def check_same(model: Model, found: Model) -> None:
    """Raise ModelLoadError unless ``found`` is what was registered as ``model``."""
    check_kind(model, found.kind)
    check_weights(model, found.hash)
    if model.dimensions is not None and found.dimensions != model.dimensions:
        raise ModelLoadError(
            f"{model.name} is registered with {model.dimensions} dimensions, but has {found.dimensions}."
        )
    if model.takes_images and not found.takes_images:
        raise ModelLoadError(f"{model.name} is registered for images, but takes text only.")
    if model.labels is not None and found.labels != model.labels:
        raise ModelLoadError(
            f"{model.name} is registered with the labels {', '.join(model.labels)}, but has "
            f"{', '.join(found.labels or ['none'])}."
        )


def check_kind(model: Model, kind: ModelKind) -> None:
    """Raise ModelLoadError if the files hold a model of another kind than the registered one."""
    if kind != model.kind:
        raise ModelLoadError(f"{model.name} is a {kind}, it is registered as a {model.kind}.")


def check_weights(model: Model, digest: str | None) -> None:
    """Raise ModelLoadError if the weights are not the registered ones."""
    if model.hash is not None and digest != model.hash:
        raise ModelLoadError(
            f"The weights of {model.name} differ from the registered ones: registered {model.hash}, found "
            f"{digest}. Give this worker the registered files, or register the new ones as another model."
        )


def check_dimensions(name: str, given: int | None) -> None:
    """Raise ModelLoadError if ``NAME@N`` asks for more dimensions than the model gives (None: it gives no vectors)."""
    wanted = dimensions_in(name)
    if wanted is not None and given is None:
        raise ModelLoadError(f"{name} asks for {wanted} dimensions, but it gives no vectors: leave @{wanted} out.")
    if wanted is not None and given is not None and wanted > given:
        raise ModelLoadError(f"{name} asks for {wanted} dimensions, but the model gives {given}.")
