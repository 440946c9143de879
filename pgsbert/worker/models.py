"""The models of one worker: loaded once, when first needed, and what there is to say about each."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg.rows import class_row

from pgsbert.database import statement
from pgsbert.errors import ModelLoadError, PgsbertError
from pgsbert.events import log, storable
from pgsbert.types import LoadedModel, Model
from pgsbert.worker.inference import LOADS, Inference

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Load: TypeAlias = Callable[[Model], LoadedModel]

LOAD_WITHIN = timedelta(minutes=30)  # weights may come over a slow line first
TRY_AGAIN_AFTER = 30.0  # seconds; a missing model may be installed while the worker runs


class Models:
    """Loads registered models and keeps them."""

    def __init__(self, load: Load, inference: Inference) -> None:
        self._load = load
        self._inference = inference
        self._loading = asyncio.Lock()
        self._loaded: dict[str, LoadedModel] = {}
        self._failed: dict[str, tuple[float, PgsbertError]] = {}

    @property
    def states(self) -> dict[str, str]:
        """What the heartbeat reports: 'present' and the engine, or why a model cannot be used here."""
        present = {name: f"present ({storable(loaded.engine)})" for name, loaded in self._loaded.items()}
        return {**present, **{name: storable(str(error)) for name, (_, error) in self._failed.items()}}

    async def load(self, name: str, connection: psycopg.AsyncConnection[Any]) -> LoadedModel:
        """Return the model, loading it on first use; raises PgsbertError when this worker cannot."""
        if name in self._loaded:
            return self._loaded[name]
        # rows and questions may want the same model at the same time
        async with self._loading:
            return self._loaded.get(name) or await self._load_anew(name, connection)

    async def _load_anew(self, name: str, connection: psycopg.AsyncConnection[Any]) -> LoadedModel:
        if name in self._failed and time.monotonic() - self._failed[name][0] < TRY_AGAIN_AFTER:
            raise self._failed[name][1]
        registered = await registered_model(name, connection)
        started = time.monotonic()
        try:
            loaded = await self._inference.run(LOADS, self._load, registered, limit=LOAD_WITHIN)
        except Exception as raised:  # whatever a model's code raises, the worker serves the other models
            error = raised if isinstance(raised, PgsbertError) else ModelLoadError(f"{name} did not load: {raised!r}.")
            self._failed[name] = (time.monotonic(), error)
            log("model_not_loaded", model=name, error=error)
            raise error from (None if error is raised else raised)
        self._failed.pop(name, None)
        self._loaded[name] = loaded
        log("model_loaded", model=name, seconds=time.monotonic() - started)
        return loaded


async def registered_model(name: str, connection: psycopg.AsyncConnection[Any]) -> Model:
    """Return the registration of a model."""
    async with connection.cursor(row_factory=class_row(Model)) as cursor:
        await cursor.execute(statement("models"))
        for model in await cursor.fetchall():
            if model.name == name:
                return model
    raise PgsbertError(f'No model is registered as "{name}": run "pgsbert model add {name}".')
