"""What is registered is what is loaded, and stand-ins only where they are allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pgsbert.errors import ModelLoadError, ModelNotFoundError
from pgsbert.models.load import Runtime, inspect, load
from pgsbert.types import Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_inspected_model_loads_again(bi_encoder: Path) -> None:
    registered = inspect(str(bi_encoder))
    assert registered.kind == "bi-encoder"
    assert load(registered, Runtime(engine="torch")).model == registered


def test_inspect_finds_the_kind_of_a_cross_encoder(make_cross_encoder: Callable[..., Path]) -> None:
    registered = inspect(str(make_cross_encoder(labels=1)))
    assert registered.kind == "cross-encoder"
    assert registered.dimensions is None
    assert load(registered, Runtime(engine="torch")).model == registered


def test_other_weights_than_registered_are_refused(bi_encoder: Path) -> None:
    registered = replace(inspect(str(bi_encoder)), hash="53aa" + 60 * "0")
    with pytest.raises(ModelLoadError, match=r"differ from the registered ones: registered 53aa0+, found"):
        load(registered, Runtime(engine="torch"))


def test_other_dimensions_than_registered_are_refused() -> None:
    with pytest.raises(ModelLoadError, match="registered with 9 dimensions, but has 8"):
        load(Model(name="fake-8", kind="bi-encoder", dimensions=9), Runtime(allow_fake=True))


@pytest.mark.parametrize("name", ["fake-384", "fake-reranker"])
def test_stand_ins_need_permission(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="--allow-fake"):
        inspect(name)
    registered = inspect(name, allow_fake=True)
    assert load(registered, Runtime(allow_fake=True)).model == registered
    with pytest.raises(ModelNotFoundError, match="--allow-fake"):
        load(registered)


def test_stand_in_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="is a bi-encoder, it is registered as a cross-encoder"):
        load(Model(name="fake-8", kind="cross-encoder"), Runtime(allow_fake=True))
