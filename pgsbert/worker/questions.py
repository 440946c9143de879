"""Answer questions from SQL: embed, rerank and classify, many waiting ones through the model together."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from pgsbert.errors import ImageError, PgsbertError
from pgsbert.events import log
from pgsbert.wakeups import wait_for
from pgsbert.worker.inference import QUESTION, Inference

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import psycopg
    from numpy.typing import NDArray

    from pgsbert.requests import Request, Requests
    from pgsbert.types import Encoder, ImageEncoder, Vectors
    from pgsbert.worker.models import Models

POLL = timedelta(seconds=1)
REMEMBERED = 2048  # recent queries, of all models
FORGET_EVERY = 30.0  # seconds


class Recent:
    """The embeddings of recent queries, least recently used out first."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._vectors: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()

    def get(self, model: str, text: str) -> NDArray[np.float32] | None:
        """Return the remembered embedding, shape (dimensions,), or None."""
        vector = self._vectors.get((model, text))
        if vector is not None:
            self._vectors.move_to_end((model, text))
        return vector

    def put(self, model: str, text: str, vector: NDArray[np.float32]) -> None:
        """Remember one embedding."""
        self._vectors[model, text] = vector
        if len(self._vectors) > self._most:
            self._vectors.popitem(last=False)


class Questions:
    """The questions of all sessions, over one connection."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        requests: Requests,
        models: Models,
        inference: Inference,
        asked: asyncio.Event,
        stop: asyncio.Event,
        poll: timedelta,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._models = models
        self._inference = inference
        self._asked = asked
        self._stop = stop
        self._poll = min(POLL, poll)
        self._recent = Recent()

    async def run(self) -> None:
        """Answer until stopped."""
        forgotten = time.monotonic()
        while not self._stop.is_set():
            while requests := await self._requests.claim():
                for (kind, model), group in groupby(sorted(requests, key=_kind), key=_kind):
                    await self._answer(kind, model, list(group))
            if time.monotonic() - forgotten > FORGET_EVERY:
                await self._requests.forget()
                forgotten = time.monotonic()
            await wait_for(self._asked, self._poll.total_seconds())

    async def _answer(self, kind: str, model: str, requests: list[Request]) -> None:
        started = time.monotonic()
        try:
            loaded = await self._models.load(model, self._connection)
        except PgsbertError as error:
            for request in requests:
                await self._requests.reply_error(request, code="PB009", message=str(error))
            return
        for request in requests if kind == "rerank" else []:
            await self._score(loaded.score, request)  # type: ignore[union-attr]  # its kind was checked by put()
        for request in requests if kind == "classify" else []:
            await self._score(loaded.classify, request)  # type: ignore[union-attr]  # its kind was checked by put()
        for request in requests if kind == "embed" else []:
            if request.has_images:
                await self._embed_images(loaded, request)  # type: ignore[arg-type]  # its modalities too
        if texts := [request for request in requests if kind == "embed" and not request.has_images]:
            await self._embed(loaded, texts)  # type: ignore[arg-type]  # its kind was checked by put()
        log("answered", kind=kind, model=model, requests=len(requests), seconds=time.monotonic() - started)

    async def _embed(self, encoder: Encoder, requests: Sequence[Request]) -> None:
        """Encode what is new of all requests at once; if that fails, each request by itself."""
        try:
            texts = [request.prompt + text for request in requests for text in request.texts]
            vectors = await self._vectors(encoder, texts)
        except Exception as error:  # whatever the model raises is the asker's to know
            if len(requests) == 1:
                await self._report(requests[0], error)
            else:
                for request in requests:
                    await self._embed(encoder, [request])
            return
        start = 0
        for request in requests:
            await self._requests.reply_vectors(request, vectors[start : start + len(request.texts)])
            start += len(request.texts)

    async def _embed_images(self, encoder: ImageEncoder, request: Request) -> None:
        """Encode the images of one request; they are too large to be held with those of others."""
        try:
            vectors = await self._inference.run(QUESTION, encoder.encode_images, await self._requests.images(request))
            _check_finite(vectors)
        except ImageError as error:
            await self._requests.reply_error(request, code="PB007", message=str(error))
        except Exception as error:  # whatever the model raises is the asker's to know
            await self._report(request, error)
        else:
            await self._requests.reply_vectors(request, vectors)

    async def _vectors(self, encoder: Encoder, texts: Sequence[str]) -> Vectors:
        model = encoder.model
        known = {text: self._recent.get(model.name, text) for text in texts}
        new = [text for text, vector in known.items() if vector is None]
        if new:
            vectors = await self._inference.run(QUESTION, encoder.encode, new)
            _check_finite(vectors)
            known.update(zip(new, vectors, strict=True))
            for text, vector in zip(new, vectors, strict=True):
                self._recent.put(model.name, text, vector)
        return np.stack([vector for text in texts if (vector := known[text]) is not None])

    async def _score(self, score: Callable[..., NDArray[np.float32]], request: Request) -> None:
        """Reply with the scores of the texts, or with the probabilities of their labels, one text after the other."""
        try:
            scores = await self._inference.run(QUESTION, score, request.query, request.texts)
            if not np.isfinite(scores).all():
                raise FloatingPointError("the model returned NaN or infinity")
        except Exception as error:  # whatever the model raises is the asker's to know
            await self._report(request, error)
        else:
            await self._requests.reply_scores(request, scores.ravel())

    async def _report(self, request: Request, error: Exception) -> None:
        log("question_failed", kind=request.kind, model=request.model, error_class=type(error).__name__)
        message = f'the model "{request.model}" failed: {type(error).__name__}: {error}'
        await self._requests.reply_error(request, code="PB009", message=message)


def _check_finite(vectors: Vectors) -> None:
    if not np.isfinite(vectors).all():
        raise FloatingPointError("the model returned NaN or infinity")


def _kind(request: Request) -> tuple[str, str]:
    return request.kind, request.model
