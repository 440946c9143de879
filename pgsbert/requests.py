"""Questions from SQL: claim what is open, and reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql
from psycopg.rows import class_row

from pgsbert.database import as_vectors, statement
from pgsbert.events import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from pgsbert.types import Scores, Vectors


@dataclass(frozen=True, slots=True)
class Request:
    """One open question: texts or images to embed, documents to score for a query, or hypotheses about a premise."""

    id: int
    kind: Literal["embed", "rerank", "classify"]
    model: str
    query: str | None
    texts: list[str]
    has_images: bool = False
    prompt: str = ""  # what is registered to be put before a text to embed


class Requests:
    """The table of open questions, over one connection of one worker."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], *, worker: int, type_schema: str, kinds: Sequence[str]
    ) -> None:
        self._connection = connection
        self._kinds = list(kinds)
        self._worker = worker
        self._reply = statement("reply", vector=sql.Identifier(type_schema, "vector"))

    async def claim(self) -> list[Request]:
        """Take what nobody has taken and whose caller still waits, oldest first."""
        async with self._connection.cursor(row_factory=class_row(Request)) as cursor:
            await cursor.execute(statement("claim_requests"), {"worker": self._worker, "kinds": self._kinds})
            return sorted(await cursor.fetchall(), key=lambda request: request.id)

    async def images(self, request: Request) -> list[bytes]:
        """Return the images of a question; none if its caller went away."""
        cursor = await self._connection.execute(statement("images_of_request"), {"id": request.id}, binary=True)
        row = await cursor.fetchone()
        return row[0] if row is not None else []

    async def reply_vectors(self, request: Request, vectors: Vectors) -> None:
        """Answer with one embedding a text."""
        await self._answer(request, vectors=as_vectors(vectors))

    async def reply_scores(self, request: Request, scores: Scores) -> None:
        """Answer with one score a document, or one probability a label."""
        await self._answer(request, scores=[float(score) for score in scores])

    async def reply_error(self, request: Request, *, code: str, message: str) -> None:
        """Answer with an error that is raised where the question was asked."""
        await self._answer(request, error_code=code, error=storable(message))

    async def forget(self) -> None:
        """Remove questions whose callers went away."""
        await self._connection.execute(statement("forget_requests"))

    async def _answer(self, request: Request, **answer: object) -> None:
        nothing = dict.fromkeys(("vectors", "scores", "error_code", "error"))
        await self._connection.execute(self._reply, {"id": request.id, **nothing, **answer})
