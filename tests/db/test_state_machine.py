"""Users, workers and crashes in any order: what is visible is never wrong, and in the end every row has its vector.

Hypothesis chooses the steps. Each is complete before the next, so that an interleaving is a list of steps and not a
matter of luck; the same ones are chosen each time. To look for new ones, as many as you like:
``PGSBERT_EXAMPLES=2000 pytest --timeout=0 tests/db/test_state_machine.py``. A failure is printed as a list of steps.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, closing, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.mutants import MUTANTS
from tests.stepping import ENCODER, LOCK_TIMEOUT, SteppedWorker, User
from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgsbert.embedded import EmbeddedServer
    from pgsbert.types import Vectors
    from tests.support import Database

EXAMPLES = int(os.environ.get("PGSBERT_EXAMPLES", "0"))

KEYS = 4
texts = st.sampled_from(["a", "b", "c", "a b", "", None])

# What may happen next, and how often
USER_STEPS = {
    "title": 5, "body": 2, "insert": 2, "upsert": 2, "replace": 2, "delete": 1, "key": 2, "every title": 1,
    "insert missing": 1, "what is not tracked": 1, "truncate": 1, "commit": 3, "rollback": 1, "savepoint": 1,
    "rollback to savepoint": 1,
}  # fmt: skip
WORKER_STEPS = {
    "claim": 3, "begin to claim": 2, "claim again": 2, "settle": 6, "fail": 1, "give up": 1, "fill": 1, "release": 1,
    "tidy": 1, "crash": 1, "lose its leases": 1,
}  # fmt: skip
OPERATOR_STEPS = {"rename": 1, "refresh": 1, "retry failures": 1}
STEPS = [
    name for steps in (USER_STEPS, WORKER_STEPS, OPERATOR_STEPS) for name, times in steps.items() for _ in range(times)
]

KEY_COLUMNS = {"simple": {"id": "int"}, "composite": {"a": "int", "b": "text"}}
LEVELS = {"rc": psycopg.IsolationLevel.READ_COMMITTED, "rr": psycopg.IsolationLevel.REPEATABLE_READ}


@lru_cache
def embedded(text: str) -> Vectors:
    return ENCODER.encode([text])


def is_right(text: str, vector: str | None) -> bool:
    """Tell whether a vector, as PostgreSQL prints it, is that of the text: none where there is no text."""
    if vector is None or not text:
        return vector is None and not text
    return np.allclose(np.fromstring(vector[1:-1], sep=",", dtype=np.float32), embedded(text)[0], atol=1e-6)


class Interleavings(RuleBasedStateMachine):
    """Two users with open transactions and two workers over one table."""

    def __init__(self, database: Database, runner: asyncio.Runner) -> None:
        super().__init__()
        self._dsn = database.dsn
        self._runner = runner
        self.admin = database.connect(options=f"-c lock_timeout={LOCK_TIMEOUT}")
        self.users: list[User] = []
        self.workers: list[SteppedWorker] = []

    @initialize(
        storage=st.sampled_from(["column", "table"]),
        key=st.sampled_from(list(KEY_COLUMNS)),
        on_change=st.sampled_from(["keep", "clear"]),
        level=st.sampled_from(["rc", "rr"]),
    )
    def create(self, storage: str, key: str, on_change: str, level: str) -> None:
        self.storage, self.on_change, self.level = storage, on_change, level
        self.keys, self.title = list(KEY_COLUMNS[key]), "title"
        columns = ", ".join(f"{name} {type_}" for name, type_ in KEY_COLUMNS[key].items())
        self.admin.execute(
            f"create table items ({columns}, title text, body text, note int default 0,"
            f" primary key ({', '.join(self.keys)}))"
        )
        self.admin.execute(
            "select pgsbert.create_vectorizer('items', '{title,body}', model => 'fake-8', index => 'none',"
            " storage => %s, on_change => %s)",
            [storage, on_change],
        )
        [self.number] = rows(self.admin, "select id from pgsbert.vectorizer")
        for number in range(KEYS):
            self.admin.execute(f"insert into items values ({self.key_marks}, 'a', 'b')", self.key(number))
        self.users = [User(self._dsn), User(self._dsn)]
        for user in self.users:
            user.isolate(LEVELS[level])
        self.workers = [SteppedWorker(self._runner, self._dsn, "items") for _ in range(2)]
        # transactions that only workers can have disturbed since their snapshot
        self.undisturbed = {0, 1}

    # One rule: with several, Hypothesis leaves some out of each example, and users without workers meet nobody.
    @rule(
        who=st.integers(0, 1),
        what=st.sampled_from(STEPS),
        key=st.integers(0, KEYS - 1),
        text=texts,
        then=st.sampled_from(["commit", "stay"]),
    )
    def step(self, who: int, what: str, key: int, text: str | None, then: str) -> None:
        if what in USER_STEPS:
            self.user_step(who, what, key, text, then)
        elif what in WORKER_STEPS:
            self.worker_step(who, what, key + 1)
        else:
            self.operator_step(what)

    def user_step(self, user: int, what: str, key: int, text: str | None, then: str) -> None:
        """Change something, in a transaction of its own or in one that stays open; or end the open one."""
        match what:
            case "insert":
                self.insert(user, key, text)
            case "insert missing":
                values = ", ".join([f"({self.key_marks}, %s)"] * KEYS)
                every = [value for key in range(KEYS) for value in (*self.key(key), text)]
                insert = f"insert into items ({self.key_list}, {self.title}) values {values}"
                self.do(user, f"{insert} on conflict do nothing", *every)
            case "upsert":
                insert = f"insert into items ({self.key_list}, {self.title}) values ({self.key_marks}, %s)"
                update = f"on conflict ({self.key_list}) do update set {self.title} = excluded.{self.title}"
                self.do(user, f"{insert} {update}", *self.key(key), text)
            case "title" | "body":
                column = self.title if what == "title" else "body"
                self.do(user, f"update items set {column} = %s where {self.is_key}", text, *self.key(key))
            case "every title":
                self.do(user, f"update items set {self.title} = %s", text)
            case "what is not tracked":
                self.do(user, "update items set note = note + 1")
            case "key":
                marks = ", ".join(f"{name} = %s" for name in self.keys)
                self.do(user, f"update items set {marks} where {self.is_key}", *self.key(key + 1), *self.key(key))
            case "delete" | "replace":
                self.do(user, f"delete from items where {self.is_key}", *self.key(key))
                if what == "replace":
                    self.insert(user, key, text)
            case "truncate":
                self.do(user, "truncate items")
            case "rollback":
                self.users[user].rollback()
            case "savepoint":
                self.do(user, "savepoint one")
            case "rollback to savepoint" if self.users[user].is_in_transaction:
                self.do(user, "rollback to savepoint one")
        if what == "commit" or (then == "commit" and "savepoint" not in what):
            self.users[user].commit()
            self.undisturbed = {user}

    def worker_step(self, worker: int, what: str, most: int) -> None:
        """Let a worker do the next thing, or die."""
        one = self.workers[worker]
        match what:
            case "claim" | "begin to claim":
                one.claim(most, stop_halfway=what != "claim")
            case "claim again":
                one.claim_again()
            case "settle":
                one.settle(most)
            case "fail" | "give up":
                one.fail(for_good=what == "give up")
            case "fill":
                self.undisturbed = set()
                one.fill(most)
            case "release":
                one.release()
            case "tidy":
                one.tidy()
            case "crash":
                one.crash(self.admin)
            case "lose its leases":
                self.let_leases_run_out()
        # what was deferred waits until leases run out, and not for a time that passes by itself
        self.admin.execute(
            f"update {self.lease} set claimed_until = 'infinity' where worker is null and failed_at is null"
            " and claimed_until > clock_timestamp()"
        )

    def operator_step(self, what: str) -> None:
        """Do what operators do now and then."""
        with suppress(psycopg.errors.LockNotAvailable):
            match what:
                case "rename":
                    new = "headline" if self.title == "title" else "title"
                    self.admin.execute(f"alter table items rename column {self.title} to {new}")
                    self.title = new
                case "refresh":
                    self.admin.execute("select pgsbert.refresh('items')")
                case "retry failures":
                    self.undisturbed = set()
                    self.admin.execute("select pgsbert.retry_failures('items')")

    def insert(self, user: int, key: int, text: str | None) -> None:
        insert = f"insert into items ({self.key_list}, {self.title}, body) values ({self.key_marks}, %s, 'b')"
        self.do(user, insert, *self.key(key), text)

    def let_leases_run_out(self) -> None:
        self.admin.execute(f"update {self.lease} set claimed_until = clock_timestamp() where failed_at is null")

    # What must be true after each step, as one snapshot shows it

    @invariant()
    def what_is_visible_is_right(self) -> None:
        if not self.users:
            return
        try:
            found = rows(self.admin, self.state)
        except psycopg.errors.LockNotAvailable:
            return  # a user is in the middle of a TRUNCATE
        for key, text, vector, is_queued, has_failed in found:
            row = f"row {key}: {text!r} with {vector}"
            # a REPEATABLE READ transaction may leave a vector that it cannot see to the worker
            is_left = self.level == "rr" and self.storage == "table" and is_queued
            assert text or vector is None or is_left, f"P2, there is a vector without a text: {row}"
            assert is_queued or has_failed or is_right(text, vector), f"P1 and P2, wrong and forgotten: {row}"
            if self.on_change == "clear" and vector is not None:
                assert is_right(text, vector) or is_left, f"P2, an edit left the vector: {row}"

    def teardown(self) -> None:
        try:
            if self.users:
                for user in self.users:
                    user.rollback()
                self.everything_ends_right()
        finally:
            for worker in self.workers:
                worker.close()
            for user in self.users:
                user.close()
            self.admin.execute("set lock_timeout = '10s'")
            if self.users:
                self.admin.execute("select pgsbert.drop_vectorizer('items', drop_vectors => true)")
            self.admin.execute("drop table if exists items")
            self.admin.close()

    def everything_ends_right(self) -> None:
        """Let both workers die, and another work off what they left."""
        while self.workers:
            self.workers.pop().close()
        with closing(SteppedWorker(self._runner, self._dsn, "items")) as worker:
            self.work_off(worker)
            self.check_end()
            failed = rows(self.admin, f"select count(*) from {self.lease}")
            assert rows(self.admin, "select pgsbert.retry_failures('items')") == failed
            self.work_off(worker)
            self.check_end()
            assert rows(self.admin, f"select count(*) from {self.lease}") == [0]

    def work_off(self, worker: SteppedWorker) -> None:
        for _ in range(30):
            while worker.fill(10):
                pass
            self.let_leases_run_out()
            worker.tidy()
            worker.claim_again()
            worker.claim(10, stop_halfway=False)
            worker.settle(100)
            if not rows(self.admin, f"select 1 from {self.pending}"):
                return
        pytest.fail("P1, the queue does not become empty")

    def check_end(self) -> None:
        for key, text, vector, is_queued, has_failed in rows(self.admin, self.state):
            assert not is_queued
            assert has_failed or is_right(text, vector), f"row {key}: {text!r} with {vector}"
        assert rows(self.admin, f"select count(*) from {self.lease} where failed_at is null") == [0]
        if self.storage == "table":
            assert rows(self.admin, f"select t.* from items_embedding as t {self.without_row}") == []
        assert rows(self.admin, "select pgsbert.is_synced('items')") == [True]

    # Names

    @property
    def pending(self) -> str:
        return f"pgsbert.pending_{self.number}"

    @property
    def lease(self) -> str:
        return f"pgsbert.lease_{self.number}"

    @property
    def key_list(self) -> str:
        return ", ".join(self.keys)

    @property
    def key_marks(self) -> str:
        return ", ".join(["%s"] * len(self.keys))

    @property
    def is_key(self) -> str:
        return f"({self.key_list}) = ({self.key_marks})"

    @property
    def without_row(self) -> str:
        same = " and ".join(f"s.{name} = t.{name}" for name in self.keys)
        return f"where not exists (select from items as s where {same})"

    @property
    def state(self) -> str:
        """Every row with its text, its vector, whether it is queued, and whether it was given up."""
        queue_keys = ", ".join(f"k{i}" for i in range(1, len(self.keys) + 1))
        source_keys = ", ".join(f"s.{name}" for name in self.keys)
        vector = "s.embedding"
        if self.storage == "table":
            vector = f"(select t.embedding from items_embedding as t where ({self.key_list}) = ({source_keys}))"
        return (
            f"select ({source_keys})::text,"
            f" concat_ws(E'\\n', nullif(s.{self.title}, ''), nullif(s.body, '')), {vector}::text,"
            f" exists (select from {self.pending} where ({queue_keys}) = ({source_keys})),"
            f" exists (select from {self.lease} where ({queue_keys}) = ({source_keys}) and failed_at is not null)"
            " from items as s"
        )

    def key(self, number: int) -> tuple[object, ...]:
        return (number,) if len(self.keys) == 1 else (number // 2, "xy"[number % 2])

    def do(self, user: int, query: str, *parameters: object) -> None:
        """Let a user run a statement: nothing may stand in its way but another user."""
        began = not self.users[user].is_in_transaction
        if began:
            self.undisturbed.add(user)
        refusal = self.users[user].do(query, *parameters)
        if isinstance(refusal, psycopg.errors.LockNotAvailable):
            assert self.users[1 - user].is_in_transaction, "P3, a user waited for a worker"
        if isinstance(refusal, psycopg.errors.SerializationFailure):
            assert self.level == "rr", "P3, a serialization failure in READ COMMITTED"
            is_excepted = self.storage == "column" or query.startswith("truncate")
            assert is_excepted or user not in self.undisturbed, "P3, a worker made a user's transaction fail"

        """Let what was deferred wait until leases run out, and not for a time that passes by itself."""
        self.admin.execute(
            f"update {self.lease} set claimed_until = 'infinity' where worker is null and failed_at is null"
            " and claimed_until > clock_timestamp()"
        )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(autouse=True)
def no_autovacuum(server: EmbeddedServer) -> Iterator[None]:
    """Leave no session that takes locks on its own account."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("alter system set autovacuum = off")
        admin.execute("select pg_reload_conf()")
        yield
        admin.execute("alter system reset autovacuum")
        admin.execute("select pg_reload_conf()")


def explore(database: Database, runner: asyncio.Runner, *phases: Phase) -> None:
    run_state_machine_as_test(
        lambda: Interleavings(database, runner),  # type: ignore[arg-type]  # whatever makes one serves as well
        settings=settings(
            max_examples=EXAMPLES or 50,
            stateful_step_count=50,
            derandomize=not EXAMPLES,
            phases=phases,
            database=None,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(900)  # half a minute, unless the machine is busy
def test_every_interleaving_ends_with_the_right_vectors(database: Database, runner: asyncio.Runner) -> None:
    explore(database, runner, Phase.generate, Phase.shrink)


def test_a_settle_that_compares_nothing_is_found_out(
    database: Database, connection: psycopg.Connection[Any], runner: asyncio.Runner
) -> None:
    with ExitStack() as mutated:
        for mutant in MUTANTS:
            if mutant.mechanism.startswith("compare-and-set of the settle"):
                mutated.enter_context(mutant.taken_away(connection))
        with pytest.raises(AssertionError, match="wrong and forgotten"):
            explore(database, runner, Phase.generate)
