"""The mechanisms behind the promises, taken away one at a time: each is a change of the SQL that really runs.

A mutant names the tests that must fail without the mechanism; tests/db/test_mutations.py runs them both ways.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psycopg
from psycopg import sql

from pgsbert import database
from pgsbert.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgsbert.types import Revision
    from pgsbert.work import Embedded


@dataclass(frozen=True)
class Edit:
    """One text of a named statement or of a function in the database, and what replaces it wherever it stands."""

    where: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return the text without the mechanism; it must have been there."""
        assert self.old in text, f"{self.where} has no {self.old!r}"
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """One mechanism less: ``statements`` are edits of sql/queries.sql, ``functions`` of schema pgsbert."""

    mechanism: str
    tests: tuple[str, ...]
    fails_with: tuple[type[Exception], ...] = (AssertionError,)
    statements: tuple[Edit, ...] = ()
    functions: tuple[Edit, ...] = ()
    locks_pending_first: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)  # of the tests, beside fixtures

    @contextmanager
    def taken_away(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Run the block without the mechanism, in the database of ``connection``."""
        for edit in self.functions:
            cursor = connection.execute("select pg_get_functiondef(%s::regproc)", [f"pgsbert.{edit.where}"])
            [definition] = cursor.fetchone() or [""]
            connection.execute(edit.apply(definition))
        texts: dict[str, Any] = dict(database._statements())
        for edit in self.statements:
            texts[edit.where] = edit.apply(texts[edit.where])
        with patch.object(database, "_statements", lambda: texts):
            if self.locks_pending_first:
                with patch.object(Queue, "settle", settle_in_two_statements):
                    yield
            else:
                yield


LOCK_PENDING = sql.SQL(
    "select from {lease} as l join {pending} as p on {pending_is_lease} and p.revision = l.revision"
    " where l.revision = any (%(revisions)s) for update of p skip locked"
)
settle_in_one_statement = Queue.settle


async def settle_in_two_statements(queue: Queue, done: Sequence[Embedded]) -> set[Revision]:
    """Settle as if the queue entries were locked in a statement before the one that names the source."""
    async with queue._connection.transaction():
        revisions = [d.revision for d in done]
        await queue._connection.execute(LOCK_PENDING.format(**queue._names.parts), {"revisions": revisions})
        return await settle_in_one_statement(queue, done)


def without(where: str, *texts: str) -> tuple[Edit, ...]:
    """Edits that leave these texts out of a statement."""
    return tuple(Edit(where, text, "") for text in texts)


HELD_UP = (psycopg.errors.LockNotAvailable,)

MUTANTS = [
    Mutant(
        "compare-and-set of the settle, column",
        ("test_a_row_edited_while_claimed_stays_pending",),
        statements=without("settle_column", " and p.revision = d.revision", " and p.revision = h.revision"),
    ),
    Mutant(
        "compare-and-set of the settle, side table",
        ("test_a_side_table_gets_no_vector_of_a_text_that_was_edited_meanwhile",),
        statements=without("settle_table", " and p.revision = d.revision", " and p.revision = f.revision"),
    ),
    Mutant(
        "revisions from one sequence",
        ("test_a_row_deleted_and_inserted_again_while_claimed_keeps_no_vector_of_its_predecessor",),
        functions=(
            Edit("enqueue_1_insert", "nextval('pgsbert.revision')", "1"),
            Edit("enqueue_1_insert", "set revision = excluded.revision", "set revision = p.revision + 1"),
            Edit("enqueue_1_update", "nextval('pgsbert.revision')", "1"),
            Edit("enqueue_1_update", "set revision = excluded.revision", "set revision = p.revision + 1"),
        ),
    ),
    Mutant(
        "second snapshot of the claim",
        ("test_an_edit_in_the_middle_of_a_claim_pairs_no_new_revision_with_an_old_text",),
        # the text goes with the lease, in the same statement, and is read from there
        statements=(
            Edit("claim_fresh", "p.revision\n", "p.revision, {document} as text\n"),
            Edit(
                "claim_fresh",
                "from {pending} as p\n",
                "from {pending} as p join {source} as s on {source_is_pending}\n",
            ),
            Edit("claim_fresh", "worker, claimed_until)", "worker, claimed_until, error)"),
            Edit("claim_fresh", "+ %(lease_time)s\n", "+ %(lease_time)s, text\n"),
            Edit("claim_fresh", "error = null", "error = excluded.error"),
            Edit("texts", "then {document}", "then l.error"),
        ),
    ),
    Mutant(
        "candidates without a lease only",
        ("test_a_second_worker_claims_what_the_first_has_left",),
        statements=without("claim_fresh", "and not exists (select from {lease} as l where l.revision = p.revision)"),
    ),
    Mutant(
        "leases that give way only to a later revision",
        ("test_two_claims_under_way_at_once_take_no_row_twice",),
        statements=without("claim_fresh", "where l.revision < excluded.revision"),
    ),
    Mutant(
        "leases in a table of their own",
        ("test_a_claim_alone_never_fails_a_strict_writer_of_the_same_row",),
        (psycopg.errors.SerializationFailure,),
        statements=(
            Edit(
                "claim_fresh",
                "), leased as (\n",
                "), touched as (\n"
                "    update {pending} as p set revision = p.revision\n"
                "    from candidate as c where p.revision = c.revision\n"
                "), leased as (\n",
            ),
        ),
    ),
    Mutant(
        "SKIP LOCKED on the queue, in the claim",
        ("test_a_claim_does_not_wait_for_another_that_is_under_way",),
        HELD_UP,
        statements=without("claim_fresh", " skip locked"),
    ),
    Mutant(
        "SKIP LOCKED on the queue, in the settle",
        ("test_settle_passes_by_what_a_user_holds",),
        HELD_UP,
        arguments={"hold": "select from pgsbert.pending_1 where k1 = 1 for update"},
        statements=(Edit("settle_column", "for update of p skip locked", "for update of p"),),
    ),
    Mutant(
        "SKIP LOCKED on the source",
        ("test_settle_passes_by_what_a_user_holds",),
        HELD_UP,
        arguments={"hold": "select from articles where id = 1 for update"},
        statements=(Edit("settle_column", "for no key update of s skip locked", "for no key update of s"),),
    ),
    Mutant(
        "all tables locked before any queue entry",
        ("test_a_settle_that_waits_for_the_table_holds_nothing_that_a_truncate_needs",),
        (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected),
        locks_pending_first=True,
    ),
    Mutant(
        "leases that run out",
        ("test_a_lease_that_ran_out_is_claimed_by_another_and_the_late_settle_is_harmless",),
        statements=(Edit("claim_again", "l.claimed_until <= clock_timestamp()", "false"),),
    ),
    Mutant(
        "triggers that clear before the update",
        ("test_a_text_that_goes_takes_its_vector_with_it_before_any_worker_ran",),
        functions=(Edit("create_triggers", "if v.storage = 'column' and not has_generated then", "if false then"),),
        arguments={"on_change": "keep"},
    ),
    Mutant(
        "no notification while a worker is awake",
        ("test_a_commit_notifies_only_while_no_worker_is_awake",),
        functions=(
            Edit("enqueue_1_insert", " and pg_try_advisory_lock_shared(1885827938, 1)", ""),
            Edit("wake", "if pg_try_advisory_lock_shared(1885827938, 1) then", "if true then"),
        ),
    ),
    Mutant(
        "looks until all older transactions have ended, before a sleep",
        ("test_no_worker_sleeps_before_it_has_seen_a_commit_that_told_nobody",),
        statements=(Edit("oldest_running", "pg_snapshot_xmin(pg_current_snapshot())", "9223372036854775807"),),
    ),
    Mutant(
        "a transaction id of its own to wait for, before a sleep",
        ("test_no_worker_sleeps_before_it_has_seen_a_commit_that_told_nobody",),
        statements=(Edit("become_sleepy", "pg_current_xact_id()", "pg_snapshot_xmax(pg_current_snapshot())"),),
    ),
]
