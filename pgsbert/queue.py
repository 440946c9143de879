"""One vectorizer's queue: claim, read texts, settle; each verb is one statement of sql/queries.sql, in autocommit."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row, scalar_row

from pgsbert.database import as_vectors, statement
from pgsbert.events import storable
from pgsbert.work import Change, Embedded, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgsbert.types import Revision, VectorizerId

LEASE_TIME = timedelta(minutes=5)

LAST_REVISION = 2**63 - 1  # no revision is beyond: a claim with this bound takes whatever is queued

OPERATOR_CLASSES = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "inner_product": "vector_ip_ops"}


@dataclass(frozen=True, slots=True)
class Vectorizer:
    """A vectorizer as the catalog names it at this moment."""

    id: VectorizerId
    name: str
    schema_name: str
    table_name: str
    model: str
    document_prompt: str
    storage: str
    distance: str
    columns: list[str]
    document: str
    keys: list[str]
    key_operators: list[str]
    key_types: list[str]
    side_keys: list[str]
    vector_schema_name: str
    vector_table_name: str
    target: str
    filled: bool
    index_wanted: bool
    owns_table: bool
    type_schema: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A leased row before its text is read."""

    revision: Revision
    attempts: int
    place: list[str] | None


@dataclass(frozen=True)
class Names:
    """The identifiers that sql/queries.sql leaves open, for one vectorizer."""

    vectorizer: Vectorizer
    _composed: dict[str, sql.Composed] = field(default_factory=dict)

    def statement(self, name: str) -> sql.Composed:
        """Return the named statement for this vectorizer; composed once."""
        if name not in self._composed:
            self._composed[name] = statement(name, **self.parts)
        return self._composed[name]

    @cached_property
    def claim_beyond(self) -> sql.Composed:
        """The statement claim_fresh for what comes after ``place`` in the order of the key."""
        parts = self.parts
        places = _commas(
            sql.SQL("(%(place)s::text[])[{}]::{}").format(i, sql.SQL(key_type))
            for i, key_type in enumerate(self._escaped.key_types, start=1)
        )
        beyond = sql.SQL("({}) > ({})").format(parts["pending_keys"], places)
        return statement("claim_fresh", **{**parts, "beyond_place": beyond})

    @cached_property
    def _escaped(self) -> Vectorizer:
        """The vectorizer with % doubled in its names: psycopg looks for placeholders in the whole statement."""
        named = {f.name: getattr(self.vectorizer, f.name) for f in fields(self.vectorizer)}
        escaped: dict[str, Any] = {
            key: [part.replace("%", "%%") for part in value] if isinstance(value, list) else value.replace("%", "%%")
            for key, value in named.items()
            if isinstance(value, str | list)
        }
        return replace(self.vectorizer, **escaped)

    @cached_property
    def parts(self) -> dict[str, sql.Composable]:
        """What each {placeholder} stands for."""
        v = self._escaped
        queue_names = [f"k{i}" for i in range(1, len(v.keys) + 1)]
        queue_keys = [sql.Identifier(name) for name in queue_names]
        source = sql.Identifier(v.schema_name, v.table_name)
        return {
            "pending": sql.Identifier("pgsbert", f"pending_{v.id}"),
            "lease": sql.Identifier("pgsbert", f"lease_{v.id}"),
            "fill": sql.Identifier("pgsbert", f"fill_{v.id}"),
            "source": source,
            "source_name": sql.Literal(source.as_string(None)),
            "target": sql.Identifier(v.target),
            "vector": sql.Identifier(v.type_schema, "vector"),
            "vector_table": sql.Identifier(v.vector_schema_name, v.vector_table_name),
            "operator_class": sql.Identifier(v.type_schema, OPERATOR_CLASSES[v.distance]),
            "keys": _commas(queue_keys),
            "keys_descending": _commas(sql.SQL("{} desc").format(k) for k in queue_keys),
            "pending_keys": _commas(sql.SQL("p.{}").format(k) for k in queue_keys),
            "beyond_place": sql.SQL("true"),
            "place": sql.SQL("(select array[{}] from candidate order by {} limit 1)").format(
                _commas(sql.SQL("format('%%s', {})").format(k) for k in queue_keys),
                _commas(sql.SQL("{} desc").format(k) for k in queue_keys),
            ),
            "fresh_keys": _commas(sql.SQL("f.{}").format(k) for k in queue_keys),
            "source_keys": _commas(
                sql.SQL("s.{} as {}").format(sql.Identifier(name), k)
                for name, k in zip(v.keys, queue_keys, strict=True)
            ),
            "side_keys": _commas(map(sql.Identifier, v.side_keys)),
            "side_is_fresh": self._equal("t", v.side_keys, "f"),
            "side_is_lease": self._equal("t", v.side_keys, "l"),
            "source_order": _commas(sql.SQL("s.{}").format(sql.Identifier(name)) for name in v.keys),
            "pending_is_lease": self._equal("p", queue_names, "l"),
            "pending_is_fresh": self._equal("p", queue_names, "f"),
            "pending_is_held": self._equal("p", queue_names, "h"),
            "pending_is_gone": self._equal("p", queue_names, "g"),
            "source_is_lease": self._source_is("l"),
            "source_is_pending": self._source_is("p"),
            "source_is_fresh": self._source_is("f"),
            "source_is_held": self._source_is("h"),
            "document": sql.SQL(v.document),  # from the catalog, quoted there
            "wanted": self._wanted(),
        }

    def _source_is(self, alias: LiteralString) -> sql.Composed:
        """Return the condition that a row of the source has the key of ``alias``."""
        return self._equal("s", self._escaped.keys, alias)

    def _equal(self, table: LiteralString, columns: Sequence[str], alias: LiteralString) -> sql.Composed:
        """Return the condition that ``columns`` of ``table`` are the key of ``alias``, by the key's own equality."""
        conditions: list[sql.Composable] = [
            sql.SQL("{}.{} {} {}.{}").format(
                sql.SQL(table),
                sql.Identifier(name),
                sql.SQL(operator),  # from the catalog, quoted there
                sql.SQL(alias),
                sql.Identifier(f"k{i}"),
            )
            # a vectorizer without a side table has no names for its key there
            for i, (name, operator) in enumerate(
                zip(columns, self._escaped.key_operators, strict=bool(columns)), start=1
            )
        ]
        return sql.SQL(" and ").join(conditions)

    def _wanted(self) -> sql.Composed:
        """Return the condition that a row is to be queued by the walk: it has text, or a vector that must go."""
        v = self._escaped
        conditions = [
            sql.SQL("coalesce(octet_length(s.{}::text), 0) > 0").format(sql.Identifier(name)) for name in v.columns
        ]
        if v.storage == "column":
            conditions.append(sql.SQL("s.{} is not null").format(sql.Identifier(v.target)))
        return sql.SQL("({})").format(sql.SQL(" or ").join(conditions))


def _commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


class Queue:
    """The queue of one vectorizer, over one connection of one worker."""

    def __init__(self, vectorizer: Vectorizer, connection: psycopg.AsyncConnection[Any], worker: int) -> None:
        self.vectorizer = vectorizer
        self._names = Names(vectorizer)
        self._connection = connection
        self._worker = worker
        self._pass_up_to = LAST_REVISION
        self._place: list[str] | None = None  # the last key claimed in this pass, as text
        self.claimed = 0  # rows the last claim leased, those that are gone included

    @property
    def is_cut_off(self) -> bool:
        """Whether the connection is lost: an error of class 53 or 55 can look the same and leave it alive."""
        return self._connection.closed

    async def claim(self, limit: int) -> list[Change]:
        """Lease up to ``limit`` rows nobody has tried, and return them with their texts; vanished rows are dequeued."""
        reached = self._place
        changes = await self._claim_fresh(limit)
        if self.claimed < limit and reached is not None:
            # the pass is over; what was queued since, or held by somebody, is the next one
            self._pass_up_to, self._place = LAST_REVISION, None
            if self.claimed == 0:
                changes = await self._claim_fresh(limit)
                if self.claimed == 0:
                    # what the walk over the existing rows queues next comes after
                    self._place = reached
        return changes

    async def claim_again(self, limit: int = 64) -> list[Change]:
        """Lease rows whose lease ran out: some together after one attempt, one alone after more."""
        return await self._read(await self._lease(self._names.statement("claim_again"), limit=limit))

    async def _claim_fresh(self, limit: int) -> list[Change]:
        """Claim after the place this pass has reached, and come to the next; a full claim begins a pass."""
        claim = self._names.statement("claim_fresh") if self._place is None else self._names.claim_beyond
        claimed = await self._lease(claim, limit=limit, up_to=self._pass_up_to, place=self._place)
        if len(claimed) == limit:
            self._place = next(row.place for row in claimed.values() if row.place)
            if self._pass_up_to == LAST_REVISION:
                self._pass_up_to = await self._last_revision()
        return await self._read(claimed)

    async def _lease(self, claim: sql.Composed, **parameters: object) -> dict[Revision, Claimed]:
        async with self._connection.cursor(row_factory=class_row(Claimed)) as cursor:
            await cursor.execute(claim, {"worker": self._worker, "lease_time": LEASE_TIME, **parameters})
            claimed = {row.revision: row for row in await cursor.fetchall()}
        self.claimed = len(claimed)
        return claimed

    async def _read(self, claimed: dict[Revision, Claimed]) -> list[Change]:
        if not claimed:
            return []
        revisions = list(claimed)
        read = await self._execute("texts", revisions=revisions)
        texts: dict[Revision, str] = dict(await read.fetchall())
        vanished = [revision for revision in revisions if revision not in texts]
        if vanished:
            await self._settle_vanished(vanished)
        return [Change(r, texts[r], claimed[r].attempts) for r in revisions if r in texts]

    async def wake_others(self) -> None:
        """Notify the other workers: there is more than this one took."""
        await self._connection.execute(statement("wake_others"))

    async def _last_revision(self) -> int:
        cursor = await self._connection.execute(statement("last_revision"))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def _settle_vanished(self, revisions: list[Revision]) -> None:
        if self.vectorizer.storage == "table":
            await self._execute("settle_vanished_side", revisions=revisions)
        await self._execute("settle_vanished", revisions=revisions)
        # what is there all the same came back meanwhile, or row security hides it
        await self.defer(revisions)

    async def settle(self, done: Sequence[Embedded]) -> set[Revision]:
        """Store the vectors whose texts are still their rows'; return the revisions that were settled.

        The others were edited or deleted meanwhile, or somebody holds them: see :meth:`defer`.
        """
        vectors = [None if d.vector is None else as_vectors([d.vector])[0] for d in done]
        parameters = {"revisions": [d.revision for d in done], "vectors": vectors}
        async with self._connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(self._names.statement(f"settle_{self.vectorizer.storage}"), parameters)
            return set(await cursor.fetchall())

    async def defer(self, revisions: Iterable[Revision]) -> None:
        """Try rows again a little later that were not settled, without counting an attempt."""
        await self._execute("defer", revisions=list(revisions))

    async def try_later(self, failed: Failed, delay: timedelta) -> None:
        """Keep a failed row leased for ``delay``, with its error."""
        await self._execute(
            "try_later",
            revisions=[failed.revision],
            delay=delay,
            error_class=failed.error_class,
            error=storable(failed.error),
        )

    async def give_up(self, failed: Failed) -> bool:
        """Move a row from the queue to pgsbert.failures; False if it was edited meanwhile or somebody holds it."""
        cursor = await self._execute(
            "settle_failed",
            revision=failed.revision,
            error_class=failed.error_class,
            error=storable(failed.error),
        )
        return cursor.rowcount > 0

    async def release(self) -> None:
        """Give back every lease of this worker; its next claim begins at the first key."""
        self._pass_up_to, self._place = LAST_REVISION, None
        await self._execute("release", worker=self._worker)

    async def expire(self) -> None:
        """End the leases of workers that died."""
        await self._execute("expire")

    async def forget(self) -> None:
        """Remove leases of rows that were deleted or edited meanwhile."""
        await self._execute("forget")

    async def forget_failures(self) -> None:
        """Remove failures of rows that are gone."""
        await self._execute("forget_failures")

    async def next_due(self) -> float | None:
        """Return the seconds until the first lease runs out, None when there is none."""
        cursor = await self._execute("next_due")
        row = await cursor.fetchone()
        return row[0] if row is not None else None

    async def is_idle(self) -> bool:
        """Return whether nothing is pending."""
        cursor = await self._execute("is_idle")
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def fill(self, limit: int) -> int | None:
        """Queue the next ``limit`` existing rows by key; return how many were passed, None if another worker does.

        The walk is over when fewer than ``limit`` were passed.
        """
        async with self._connection.transaction():
            cursor = await self._connection.execute(statement("fill_lock"), {"id": self.vectorizer.id})
            if cursor.rowcount == 0:
                return None
            cursor = await self._execute("fill_reached")
            row = await cursor.fetchone()
            beyond = self._beyond_last() if row is not None and row[0] else sql.SQL("true")
            cursor = await self._connection.execute(
                statement("fill_range", **{**self._names.parts, "beyond_last": beyond}), {"limit": limit}
            )
            row = await cursor.fetchone()
            assert row is not None
            passed = int(row[0])
            if passed < limit:
                await self._connection.execute(statement("fill_ended"), {"id": self.vectorizer.id})
            return passed

    def _beyond_last(self) -> sql.Composed:
        parts = self._names.parts
        return sql.SQL("({}) > (select {} from {})").format(parts["source_order"], parts["keys"], parts["fill"])

    async def _execute(self, name: str, **parameters: object) -> psycopg.AsyncCursor[Any]:
        return await self._connection.execute(self._names.statement(name), parameters)


async def read_vectorizers(connection: psycopg.AsyncConnection[Any]) -> list[Vectorizer]:
    """Return the vectorizers that may be claimed from, as the catalog names them now; broken ones are marked."""
    await connection.execute(statement("broken_sources"))
    async with connection.cursor(row_factory=class_row(Vectorizer)) as cursor:
        await cursor.execute(statement("vectorizers"))
        return await cursor.fetchall()
