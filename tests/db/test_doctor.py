"""The doctor finds what was broken on purpose, says what to do, and what it says mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgsbert
from pgsbert.database import plain_statement
from pgsbert.doctor import Finding, examine
from pgsbert.testing import FakeEncoder
from tests.support import run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.support import Database


@pytest.fixture
def healthy(database: Database, articles: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Give an installation with a live worker and a synced vectorizer, of which the doctor says nothing."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        articles.execute("insert into articles (title) values ('one'), ('two')")
        articles.execute("call pgsbert.wait_until_synced('articles')")
        wait_until(lambda: examine(articles) == [])
        yield articles


def about(connection: psycopg.Connection[Any], subject: str) -> Finding:
    """Return the one finding about a subject."""
    findings = {finding.about: finding for finding in examine(connection)}
    assert subject in findings, findings
    return findings[subject]


def other_worker(connection: psycopg.Connection[Any], *, listening: bool, models: str = "{}") -> None:
    """Register a worker that lives as long as ``connection``, as its lock shows."""
    connection.execute(
        "with w as (insert into pgsbert.worker (host, pid, version, started_at, seen_at, listening, models)"
        " values ('elsewhere', 1, %s, now() - interval '1 min', now() + interval '1 min', %s, %s) returning id)"
        " select pg_advisory_lock(1885827939, id) from w",
        [pgsbert.__version__, listening, models],
    )


def test_a_healthy_installation_has_no_finding(healthy: psycopg.Connection[Any]) -> None:
    assert examine(healthy) == []


def test_without_pgsbert_it_says_to_install(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        findings = {finding.about: finding for finding in examine(connection)}
        assert findings["extension vector"].advice == "CREATE EXTENSION vector;"
        assert findings["schema pgsbert"].advice == 'run "pgsbert install"'


def test_an_older_schema_is_to_be_upgraded(healthy: psycopg.Connection[Any]) -> None:
    healthy.execute("update pgsbert.migration set version_num = '0001'")
    assert about(healthy, "schema pgsbert").advice == 'run "pgsbert upgrade"'
    healthy.execute("update pgsbert.migration set version_num = '9999'")
    assert about(healthy, "schema pgsbert").advice == "upgrade the package"


def test_without_a_worker_it_says_to_start_one(articles: psycopg.Connection[Any]) -> None:
    finding = about(articles, "workers")
    assert (finding.level, finding.advice) == ("problem", "start one: pgsbert worker")


def test_a_worker_of_another_version_or_without_a_listener_is_found(
    healthy: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgsbert, "__version__", "9.9.9")
    (finding,) = examine(healthy)
    assert finding.level == "warning"
    assert "this is 9.9.9" in finding.found
    monkeypatch.undo()
    other_worker(healthy, listening=False)
    assert "its listener has no connection" in about(healthy, "worker 2 on elsewhere").found


def test_a_disabled_or_missing_trigger_is_found_and_its_advice_mends_it(healthy: psycopg.Connection[Any]) -> None:
    healthy.execute("alter table articles disable trigger zzzz_pgsbert_1_update")
    finding = about(healthy, "vectorizer articles")
    assert "is disabled" in finding.found
    healthy.execute("update articles set title = 'unseen' where title = 'one'")
    healthy.execute(finding.advice)
    healthy.execute("call pgsbert.wait_until_synced('articles')")
    assert healthy.execute(
        "select (select embedding from articles where title = 'unseen') = pgsbert.embed('unseen', 'fake-8')"
    ).fetchone() == (True,)
    healthy.execute("drop trigger zzzz_pgsbert_1_delete on articles")
    assert "has no trigger for delete" in about(healthy, "vectorizer articles").found


def test_a_right_that_was_taken_away_is_found_and_its_advice_mends_it(healthy: psycopg.Connection[Any]) -> None:
    for revoked, privilege in (("select (title)", "select"), ("update (embedding)", "update")):
        healthy.execute(f"revoke {revoked} on articles from pgsbert_worker")
        finding = about(healthy, "vectorizer articles")
        assert f"may not {privilege.upper()} column" in finding.found
        healthy.execute(finding.advice)
        wait_until(lambda: examine(healthy) == [])


def test_a_dropped_column_is_told_as_broken(healthy: psycopg.Connection[Any]) -> None:
    healthy.execute("alter table articles drop column body cascade")
    wait_until(lambda: "broken: column" in " ".join(f.found for f in examine(healthy)))


def test_failures_are_found_with_what_to_do(healthy: psycopg.Connection[Any]) -> None:
    healthy.execute(
        "insert into pgsbert.lease_1 (k1, revision, attempts, claimed_until, failed_at) values (1, 0, 5, now(), now())"
    )
    finding = about(healthy, "vectorizer articles")
    assert finding.level == "warning"
    assert "1 rows could not be embedded" in finding.found
    assert "pgsbert.retry_failures('articles')" in finding.advice


def test_rows_that_wait_for_long_are_found(articles: psycopg.Connection[Any]) -> None:
    articles.execute("insert into articles (title) values ('late')")
    articles.execute("update pgsbert.pending_1 set queued_at = now() - interval '1 hour'")
    finding = about(articles, "vectorizer articles")
    assert finding.found.startswith("a row has waited for 01:00:0")
    assert finding.advice == "start a worker"
    articles.execute("select pgsbert.pause_vectorizer('articles')")
    articles.execute(about(articles, "vectorizer articles").advice)
    assert articles.execute("select state from pgsbert.status").fetchone() != ("paused",)


def test_a_model_that_a_worker_does_not_have_is_found(healthy: psycopg.Connection[Any]) -> None:
    other_worker(healthy, listening=True, models='{"fake-8": "not found in /models"}')
    assert "not found in /models" in about(healthy, "model fake-8").found


def test_an_invalid_index_is_found(articles: psycopg.Connection[Any]) -> None:
    articles.execute("create index half_built on articles using hnsw (embedding vector_cosine_ops)")
    articles.execute("update pg_index set indisvalid = false where indexrelid = 'half_built'::regclass")
    assert "half_built is not valid" in about(articles, "vectorizer articles").found


def test_a_vector_column_of_another_dimension_is_found(articles: psycopg.Connection[Any]) -> None:
    articles.execute("update pgsbert.model set dimensions = 9 where name = 'fake-8'")
    assert 'is vector(8), and "fake-8" makes vector(9)' in about(articles, "vectorizer articles").found


def test_damage_to_the_gateways_role_is_found_and_its_advice_mends_it(healthy: psycopg.Connection[Any]) -> None:
    database = healthy.info.dbname
    damage = (
        ("alter role pgsbert_gateway set lock_timeout = 1", "lock_timeout=1 is set"),
        ("alter role pgsbert_gateway createdb", "may do more than ask"),
        ("alter role pgsbert_gateway valid until '2001-01-01'", "may not log in"),
    )
    try:
        for statement, found in damage:
            healthy.execute(statement)
            finding = about(healthy, "role pgsbert_gateway")
            assert found in finding.found
            healthy.execute(finding.advice.partition(";")[0])
            assert examine(healthy) == []
        healthy.execute(f'alter role pgsbert_gateway in database "{database}" set statement_timeout = 1')
        finding = about(healthy, "role pgsbert_gateway")
        assert finding.found == f"statement_timeout=1 is set in database {database}"
    finally:
        for repair in ("reset all", "nocreatedb", "valid until 'infinity'"):
            healthy.execute(f"alter role pgsbert_gateway {repair}")


def test_a_gateway_that_cannot_log_in_is_found_with_the_reason(articles: psycopg.Connection[Any]) -> None:
    articles.execute("alter role pgsbert_gateway nologin")
    try:
        assert "is not permitted to log in" in about(articles, "gateway").found
        assert "LOGIN" in about(articles, "role pgsbert_gateway").advice
    finally:
        articles.execute("alter role pgsbert_gateway login")


def test_a_long_transaction_is_found(healthy: psycopg.Connection[Any], database: Database) -> None:
    # no test waits ten minutes: the same statement, with the limit taken away
    text = plain_statement("check_transactions").replace("10 minutes", "0 minutes")
    with database.connect() as other, other.transaction():
        other.execute("select 1")
        pid = other.info.backend_pid
        found = {row[1]: row[3] for row in healthy.execute(text)}
        assert found[f"session {pid}"] == f"end it: SELECT pg_terminate_backend({pid});"
