"""One vectorizer's queue: claim, read texts, settle; each verb is one statement of sql/queries.sql, in autocommit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row, scalar_row

from pgsbert.database import as_vectors, statement
from pgsbert.events import storable
from pgsbert.failures import is_about_row, is_permanent
from pgsbert.work import Change, Embedded, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgsbert.types import OnTruncate, Revision, VectorizerId
    from pgsbert.work import Content

LEASE_TIME = timedelta(minutes=5)
RENEW_AFTER = LEASE_TIME / 3  # twice may it fail to be renewed in time

FROM_THE_FIRST = {"beyond_last": sql.SQL("true"), "side_beyond_last": sql.SQL("true")}

TEXTS_AT_ONCE = 8 * 2**20  # bytes of text that a claim reads, and one text more; what a worker holds follows from it

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
    on_truncate: OnTruncate
    columns: list[str]
    document: str
    embeds_images: bool
    keys: list[str]
    key_operators: list[str]
    key_greater: list[str]
    key_at_least: str
    key_types: list[str]
    side_keys: list[str]
    vector_schema_name: str
    vector_table_name: str
    target: str
    names: str
    filled: bool
    index_wanted: bool
    indexes: int  # on the table of the vectors, of whatever kind and state
    is_partitioned: bool
    owns_table: bool
    type_schema: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A leased row before its text is read."""

    revision: Revision
    attempts: int
    place: list[str] | None


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows one range of a sweep passed, and how many of them it queued."""

    passed: int
    queued: int


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
        return self._beyond_place("claim_fresh")

    @cached_property
    def forget_truncated_beyond(self) -> sql.Composed:
        """The statement forget_truncated for what comes after ``place``."""
        return self._beyond_place("forget_truncated")

    def _beyond_place(self, name: LiteralString) -> sql.Composed:
        parts = self.parts
        places = [
            sql.SQL("(%(place)s::text[])[{}]::{}").format(i, sql.SQL(key_type))
            for i, key_type in enumerate(self._escaped.key_types, start=1)
        ]
        keys = [sql.SQL("p.{}").format(sql.Identifier(f"k{i}")) for i in range(1, len(places) + 1)]
        whole = sql.SQL("({})").format(_commas(places))
        return statement(name, **{**parts, "beyond_place": self._beyond(keys, places, whole)})

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
            "truncated": sql.Identifier("pgsbert", f"truncated_{v.id}"),
            "source": source,
            "source_name": sql.Literal(source.as_string(None)),
            "target": sql.Identifier(v.target),
            "named_so": sql.SQL("(select pgsbert.check_names({}, {}))").format(sql.Literal(v.id), sql.Literal(v.names)),
            "vector": sql.Identifier(v.type_schema, "vector"),
            "vector_table": sql.Identifier(v.vector_schema_name, v.vector_table_name),
            "operator_class": sql.Identifier(v.type_schema, OPERATOR_CLASSES[v.distance]),
            "keys": _commas(queue_keys),
            "keys_descending": _commas(sql.SQL("{} desc").format(k) for k in queue_keys),
            "pending_keys": _commas(sql.SQL("p.{}").format(k) for k in queue_keys),
            "beyond_place": sql.SQL("true"),
            "place": sql.SQL("(select array[{}] from candidate order by {} limit 1)").format(
                _commas(sql.SQL("pg_catalog.format('%%s', {})").format(k) for k in queue_keys),
                _commas(sql.SQL("{} desc").format(k) for k in queue_keys),
            ),
            "fresh_keys": _commas(sql.SQL("f.{}").format(k) for k in queue_keys),
            "source_keys": _commas(
                sql.SQL("s.{} as {}").format(sql.Identifier(name), k)
                for name, k in zip(v.keys, queue_keys, strict=True)
            ),
            "side_keys": _commas(map(sql.Identifier, v.side_keys)),
            "side_keys_named": _commas(
                sql.SQL("t.{} as {}").format(sql.Identifier(name), k)
                for name, k in zip(v.side_keys, queue_keys, strict=bool(v.side_keys))
            ),
            "side_order": _commas(sql.SQL("t.{}").format(sql.Identifier(name)) for name in v.side_keys),
            "side_is_fresh": self._equal("t", v.side_keys, "f"),
            "side_is_lease": self._equal("t", v.side_keys, "l"),
            "source_order": _commas(sql.SQL("s.{}").format(sql.Identifier(name)) for name in v.keys),
            "pending_is_lease": self._equal("p", queue_names, "l"),
            "pending_is_fresh": self._equal("p", queue_names, "f"),
            "pending_is_held": self._equal("p", queue_names, "h"),
            "pending_is_gone": self._equal("p", queue_names, "g"),
            "lease_is_range": self._equal("l", queue_names, "r"),
            "source_is_lease": self._source_is("l"),
            "source_is_pending": self._source_is("p"),
            "source_is_fresh": self._source_is("f"),
            "source_is_held": self._source_is("h"),
            "document": sql.SQL(v.document),  # from the catalog, quoted there
            "text_bytes": sql.SQL(" + ").join(sql.SQL("{}::bigint").format(size) for size in self._sizes()),
            "wanted": self._wanted(),
            "has_text": self._has_text(),
            "has_vector": self._has_vector(),
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

    def beyond_last(self) -> dict[str, sql.Composable]:
        """Return the conditions that a row of the source, or of the side table, comes after the walk's last one."""
        v = self._escaped
        return {
            "beyond_last": self._beyond_last("s", v.keys),
            "side_beyond_last": self._beyond_last("t", v.side_keys) if v.side_keys else sql.SQL("true"),
        }

    def _beyond_last(self, alias: LiteralString, names: Sequence[str]) -> sql.Composed:
        keys = [sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(name)) for name in names]
        last = [
            sql.SQL("(select {} from {})").format(sql.Identifier(f"k{i}"), self.parts["fill"])
            for i in range(1, len(keys) + 1)
        ]
        whole = sql.SQL("(select {} from {})").format(self.parts["keys"], self.parts["fill"])
        return self._beyond(keys, last, whole)

    def _beyond(
        self, keys: Sequence[sql.Composable], last: Sequence[sql.Composable], whole: sql.Composable
    ) -> sql.Composed:
        """Return the condition that ``keys`` come after ``last``, which as one row is ``whole``."""
        # the operators are from the catalog, quoted there: a name alone would be looked up in the path
        greater, equal = self._escaped.key_greater, self._escaped.key_operators
        if len(set(greater)) == 1:
            # one comparison of rows, which an index serves
            return sql.SQL("({}) {} {}").format(_commas(keys), sql.SQL(greater[0]), whole)
        beyond = sql.SQL("{} {} {}").format(keys[-1], sql.SQL(greater[-1]), last[-1])
        for key, more, same, value in reversed(list(zip(keys, greater, equal, last, strict=True))[:-1]):
            beyond = sql.SQL("({} {} {} or {} {} {} and {})").format(
                key, sql.SQL(more), value, key, sql.SQL(same), value, beyond
            )
        # an index serves at least the first column
        return sql.SQL("{} {} {} and {}").format(keys[0], sql.SQL(self._escaped.key_at_least), last[0], beyond)

    def _wanted(self) -> sql.Composed:
        """Return the condition that a row is to be queued by the walk: it has text, or a vector that must go."""
        if self._escaped.storage == "column":
            target = sql.Identifier(self._escaped.target)
            return sql.SQL("({} or s.{} is not null)").format(self._has_text(), target)
        return self._has_text()

    def _has_vector(self) -> sql.Composed:
        """Return the condition that a row of the source has a vector, beside it or in its side table."""
        v = self._escaped
        if v.storage == "column":
            return sql.SQL("s.{} is not null").format(sql.Identifier(v.target))
        matches = (
            sql.SQL("t.{} {} s.{}").format(sql.Identifier(side_key), sql.SQL(operator), sql.Identifier(key))
            for side_key, operator, key in zip(v.side_keys, v.key_operators, v.keys, strict=True)
        )
        side = sql.Identifier(v.vector_schema_name, v.vector_table_name)
        return sql.SQL("exists (select from {} as t where {})").format(side, sql.SQL(" and ").join(matches))

    def _has_text(self) -> sql.Composed:
        """Return the condition that a row of the source has text, or an image, to embed."""
        return sql.SQL("({})").format(sql.SQL(" or ").join(sql.SQL("{} > 0").format(size) for size in self._sizes()))

    def _sizes(self) -> list[sql.Composed]:
        """Return the size in bytes of each tracked column, known without fetching a long one."""
        content = sql.SQL("s.{}" if self._escaped.embeds_images else "s.{}::text")
        return [
            sql.SQL("coalesce(octet_length({}), 0)").format(content.format(sql.Identifier(name)))
            for name in self._escaped.columns
        ]


def _commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def refused(revision: Revision, attempts: int, error: psycopg.Error) -> Failed:
    """Return the failure of a row whose table does not let it be read or written, in PostgreSQL's own words."""
    message = error.diag.message_primary or str(error)
    return Failed(revision, attempts, type(error).__name__, message, permanent=is_permanent(error))


class Queue:
    """The queue of one vectorizer, over one connection of one worker."""

    def __init__(self, vectorizer: Vectorizer, connection: psycopg.AsyncConnection[Any], worker: int) -> None:
        self.vectorizer = vectorizer
        self._names = Names(vectorizer)
        self._connection = connection
        self._worker = worker
        self._pass_up_to = LAST_REVISION
        self._place: list[str] | None = None  # the last key claimed in this pass, as text
        self._looked_at: list[str] | None = None  # the last truncated row that was looked at, while a walk lasts
        self.claimed = 0  # rows the last claim leased, those that are gone included; its limit if there are more
        self.unreadable: list[Failed] = []  # rows of the last claim whose texts PostgreSQL could not give
        self._leased_at = 0.0

    @property
    def is_cut_off(self) -> bool:
        """Whether the connection is lost: an error of class 53 or 55 can look the same and leave it alive."""
        return self._connection.closed

    @property
    def renew_in(self) -> float:
        """In how many seconds what was claimed last should be renewed, if it is still worked on."""
        return max(self._leased_at + RENEW_AFTER.total_seconds() - time.monotonic(), 0.0)

    async def claim(self, limit: int) -> list[Change]:
        """Lease up to ``limit`` rows nobody has tried, and return them with their texts; vanished rows are dequeued.

        Texts of more than TEXTS_AT_ONCE bytes are not held together: fewer rows are returned, never none of several.
        """
        self.unreadable = []
        reached = self._place
        changes = await self._claim_fresh(limit)
        if self.claimed < limit and (reached is not None or self._pass_up_to < LAST_REVISION):
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
        self.unreadable = []
        return await self._read(await self._lease(self._names.statement("claim_again"), limit=limit), limit=limit)

    async def _claim_fresh(self, limit: int) -> list[Change]:
        """Claim after the place this pass has reached, and come to the next; a full claim begins a pass."""
        claim = self._names.statement("claim_fresh") if self._place is None else self._names.claim_beyond
        claimed = await self._lease(claim, limit=limit, up_to=self._pass_up_to, place=self._place)
        if len(claimed) == limit:
            self._place = next(row.place for row in claimed.values() if row.place)
        changes = await self._read(claimed, limit=limit)
        if self.claimed == limit and self._pass_up_to == LAST_REVISION:
            self._pass_up_to = await self._last_revision()
        return changes

    async def _lease(self, claim: sql.Composed, **parameters: object) -> dict[Revision, Claimed]:
        async with self._connection.cursor(row_factory=class_row(Claimed)) as cursor:
            await cursor.execute(claim, {"worker": self._worker, "lease_time": LEASE_TIME, **parameters})
            claimed = {row.revision: row for row in await cursor.fetchall()}
        self._leased_at = time.monotonic()
        self.claimed = len(claimed)
        return claimed

    async def _read(self, claimed: dict[Revision, Claimed], *, limit: int) -> list[Change]:
        if not claimed:
            return []
        texts = await self._texts(list(claimed), room=TEXTS_AT_ONCE)
        vanished = [revision for revision in claimed if revision not in texts]
        if vanished:
            await self._settle_vanished(vanished)
        unread = [revision for revision, text in texts.items() if text is None]
        if unread:
            await self._execute("put_back", revisions=unread, worker=self._worker)
            # the next claim begins with them
            self._place = None
            self.claimed = limit
        self.unreadable += [
            refused(r, claimed[r].attempts, text) for r, text in texts.items() if isinstance(text, psycopg.Error)
        ]
        return [Change(r, text, claimed[r].attempts) for r, text in texts.items() if isinstance(text, str | bytes)]

    async def _texts(self, revisions: list[Revision], *, room: int) -> dict[Revision, Content | psycopg.Error | None]:
        """Read texts of up to ``room`` bytes; None for those that were not read, an error for what cannot be."""
        try:
            cursor = await self._execute("texts", revisions=revisions, bytes=room)
            return dict(await cursor.fetchall())
        except psycopg.Error as error:
            if self.is_cut_off or not is_about_row(error):
                raise
            if len(revisions) == 1:
                return {revisions[0]: error}
            middle = len(revisions) // 2
            first = await self._texts(revisions[:middle], room=room)
            read = (text.encode() if isinstance(text, str) else text for text in first.values())
            held = sum(len(text) for text in read if isinstance(text, bytes))
            return {**first, **await self._texts(revisions[middle:], room=room - held)}

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
        parameters = {
            "revisions": [d.revision for d in done],
            "vectors": vectors,
            "tokens": [d.tokens for d in done],
        }
        async with self._connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(self._names.statement(f"settle_{self.vectorizer.storage}"), parameters)
            return set(await cursor.fetchall())

    async def renew(self, revisions: Iterable[Revision]) -> None:
        """Keep rows that are still worked on from the other workers; what they have taken stays theirs."""
        self._leased_at = time.monotonic()
        await self._execute("renew", revisions=list(revisions), worker=self._worker, lease_time=LEASE_TIME)

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

    async def forget_truncated(self, limit: int = 2000) -> bool:
        """Forget of the next ``limit`` truncated rows those that are gone; returns whether there may be more."""
        names = self._names
        forget = names.statement("forget_truncated") if self._looked_at is None else names.forget_truncated_beyond
        cursor = await self._connection.execute(forget, {"limit": limit, "place": self._looked_at})
        row = await cursor.fetchone()
        assert row is not None
        place, is_full = row
        # what somebody holds is passed by as well: the next walk finds it
        self._looked_at = place if is_full else None
        return bool(is_full)

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
        try:
            return await self._fill(limit)
        except psycopg.Error as error:
            if self.is_cut_off or not is_about_row(error):
                raise
            # some text of the range cannot be read: the claim finds out which
            return await self._fill(limit, wanted=sql.SQL("true"))

    async def _fill(self, limit: int, **conditions: sql.Composable) -> int | None:
        async with self._connection.transaction():
            cursor = await self._connection.execute(statement("fill_lock"), {"id": self.vectorizer.id})
            if cursor.rowcount == 0:
                return None
            passed, *_ = await self._walk("fill_range", limit, is_under_way=await self._is_under_way(), **conditions)
            if passed < limit:
                await self._connection.execute(statement("fill_ended"), {"id": self.vectorizer.id})
                await self._execute("fill_forgotten")
            return passed

    async def pass_held(self) -> bool:
        """Let the first fill go on behind the next row, which somebody edits; returns whether that could be done.

        The transaction that holds the row has queued it. Should it roll back, the sweep after the fill finds the row,
        for which it must have no vector: one that has waits.
        """
        async with self._connection.transaction():
            cursor = await self._connection.execute(statement("fill_lock"), {"id": self.vectorizer.id})
            if cursor.rowcount == 0:
                return False
            [passed] = await self._walk("fill_past_held", 1, is_under_way=await self._is_under_way())
            return passed > 0

    async def sweep(self, limit: int, *, every: timedelta) -> Swept | None:
        """Queue what no trigger saw among the next ``limit`` rows by key; None if no sweep is due or another does it.

        The sweep is over when fewer than ``limit`` were passed; another begins ``every`` after that.
        """
        try:
            return await self._sweep(limit, every)
        except psycopg.Error as error:
            if self.is_cut_off or not is_about_row(error):
                raise
            # as in the fill
            return await self._sweep(limit, every, has_text=sql.SQL("true"))

    async def _sweep(self, limit: int, every: timedelta, **conditions: sql.Composable) -> Swept | None:
        id_ = {"id": self.vectorizer.id}
        async with self._connection.transaction():
            cursor = await self._connection.execute(statement("sweep_lock"), {**id_, "every": every})
            if cursor.rowcount == 0:
                return None
            is_under_way = await self._is_under_way()
            if not is_under_way:
                await self._connection.execute(statement("sweep_began"), id_)
            statement_name = f"sweep_{self.vectorizer.storage}"
            swept = Swept(*await self._walk(statement_name, limit, is_under_way=is_under_way, **conditions))
            if swept.passed < limit:
                await self._connection.execute(statement("sweep_ended"), id_)
                await self._execute("fill_forgotten")
            return swept

    async def _is_under_way(self) -> bool:
        """Return whether a walk has come to some row."""
        cursor = await self._execute("fill_reached")
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def _walk(self, name: str, limit: int, *, is_under_way: bool, **conditions: sql.Composable) -> Sequence[int]:
        """Run the statement over the rows beyond the last one, or over the first; return its counts."""
        beyond = self._names.beyond_last() if is_under_way else FROM_THE_FIRST
        cursor = await self._connection.execute(
            statement(name, **{**self._names.parts, **beyond, **conditions}),
            {"id": self.vectorizer.id, "limit": limit},
        )
        row = await cursor.fetchone()
        assert row is not None
        return [int(count) for count in row]

    async def _execute(self, name: str, **parameters: object) -> psycopg.AsyncCursor[Any]:
        # binary: an image as hexadecimal digits would be twice as long on the way
        return await self._connection.execute(self._names.statement(name), parameters, binary=name == "texts")


async def read_vectorizers(connection: psycopg.AsyncConnection[Any]) -> list[Vectorizer]:
    """Return the vectorizers that may be claimed from, as the catalog names them now; broken ones are marked."""
    await connection.execute(statement("broken_sources"))
    async with connection.cursor(row_factory=class_row(Vectorizer)) as cursor:
        await cursor.execute(statement("vectorizers"))
        # the catalog is read as it is at each moment: of what is dropped meanwhile, a part is missing
        return [vectorizer for vectorizer in await cursor.fetchall() if _is_whole(vectorizer)]


def _is_whole(vectorizer: Vectorizer) -> bool:
    values = [getattr(vectorizer, f.name) for f in fields(vectorizer)]
    return all(value is not None and not (isinstance(value, list) and None in value) for value in values)
