"""Which way a worker takes to its database, by its options alone."""

from pgsbert.worker.connections import ROWS_OPTIONS, Route


def test_without_a_pooler_all_goes_one_way() -> None:
    assert Route("host=server").direct_dsn == "host=server"


def test_beside_a_pooler_locks_and_listen_go_to_the_server() -> None:
    assert Route("host=pooler", "host=server").direct_dsn == "host=server"


def test_through_a_pooler_alone_nothing_goes_to_the_server() -> None:
    assert Route("host=pooler", poll_only=True).direct_dsn is None


def test_a_direct_connection_is_given_its_settings_as_libpq_reads_them() -> None:
    assert ROWS_OPTIONS.startswith("-c enable_seqscan=off -c ")
    assert ROWS_OPTIONS.endswith(" -c default_transaction_isolation=read\\ committed")
