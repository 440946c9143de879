"""PostgreSQL in a container of testcontainers, with schema pgsbert in it and a worker beside it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from pgsbert import schema
from pgsbert.errors import UsageError
from pgsbert.testing.synced import LIMIT, wait_until_synced
from pgsbert.testing.worker import RunningWorker, run_worker

if TYPE_CHECKING:
    from datetime import timedelta

    from pgsbert.models.fake import FakeEncoder

try:
    from testcontainers.community.postgres import PostgresContainer
except ImportError as missing:
    raise UsageError('PgsbertContainer needs testcontainers: pip install "pgsbert[testing]".') from missing


class PgsbertContainer(PostgresContainer):
    """A server made from `image`, any with PostgreSQL, pgvector and the variables of the official postgres image.

    While it runs, its database has schema pgsbert, and a worker with deterministic stand-ins for the models runs in a
    thread of the calling process, unless `worker` is False. Keywords are those of PostgresContainer.
    """

    def __init__(
        self,
        image: str,
        *,
        worker: bool = True,
        encoder: FakeEncoder | None = None,
        driver: str | None = "psycopg",
        **keywords: Any,
    ) -> None:
        super().__init__(image, driver=driver, **keywords)
        self.worker: RunningWorker | None = None
        self._wants_worker = worker
        self._encoder = encoder
        self._running = ExitStack()

    def start(self) -> Self:
        """Start the server, install schema pgsbert, and start the worker."""
        try:
            super().start()
            schema.install(self.dsn())
            if self._wants_worker:
                self.worker = self._running.enter_context(run_worker(self.dsn(), encoder=self._encoder))
        except BaseException:  # Ctrl-C too: `with` would not stop what did not start
            self.stop()
            raise
        return self

    def stop(self, *arguments: Any, **keywords: Any) -> None:
        """End the worker, then remove the container."""
        try:
            self._running.close()
        finally:
            self.worker = None
            super().stop(*arguments, **keywords)

    def dsn(self, database: str | None = None) -> str:
        """Return the libpq URI of a database of the server, by default the one with pgsbert."""
        server, _, own = self.get_connection_url(driver=None).rpartition("/")
        return f"{server}/{own if database is None else quote(database, safe='')}"

    def wait_until_synced(self, vectorizer: str | None = None, *, timeout: timedelta = LIMIT) -> None:
        """Return when all that was committed is embedded; see pgsbert.testing.wait_until_synced."""
        wait_until_synced(self.dsn(), vectorizer, timeout=timeout)
