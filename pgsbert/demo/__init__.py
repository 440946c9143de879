"""The demo: Python's own documentation searched by meaning, within a minute, on a PostgreSQL that starts by itself."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg

from pgsbert import embedded, schema
from pgsbert.database import connect
from pgsbert.demo import questions, table
from pgsbert.demo.screen import Screen
from pgsbert.docstrings import QUESTIONS
from pgsbert.errors import PgsbertError
from pgsbert.sidecar import WorkerProcess

if TYPE_CHECKING:
    from pgsbert.embedded import EmbeddedServer

DATABASE = "demo"
ENOUGH = 500  # embedded rows from which questions are answered: the best-known names are among them
POLL = 0.2  # seconds


def run() -> None:
    """Show the demo; without a terminal it ends after the prepared questions, with one when its user ends it."""
    started = time.monotonic()
    screen = Screen(sys.stdout)
    screen.say(f"Starting PostgreSQL on {embedded.data_folder()}")
    with embedded.start() as server:
        try:
            _show(server, screen, started)
        finally:
            screen.say(
                f"\nStopping; the data stay in {server.folder}. "
                f"pgsbert demo goes on from here, pgsbert up --database {DATABASE} keeps it running."
            )


def _show(server: EmbeddedServer, screen: Screen, started: float) -> None:
    embedded.create_database(server, DATABASE)
    dsn = server.dsn(DATABASE)
    schema.install(dsn)
    log_file = server.folder / "worker.log"
    with WorkerProcess(dsn, log_file) as worker, connect(dsn, application_name="pgsbert demo") as connection:
        screen.say(f"Starting a worker (process {worker.pid}); its log is {log_file}")
        table.fill(connection)
        demo = _Demo(connection, worker, screen, f"Its log is {log_file}.")
        demo.embed_enough()
        demo.answer_prepared(started)
        screen.show_connection(server.psql, dsn)
        if _is_interactive():
            demo.answer_typed()


class _Demo:
    """The part of the demo that needs the table, the worker and the screen."""

    def __init__(self, connection: psycopg.Connection[Any], worker: WorkerProcess, screen: Screen, hint: str) -> None:
        self._connection = connection
        self._worker = worker
        self._screen = screen
        self._hint = hint

    def embed_enough(self) -> None:
        """Wait, with a progress bar, until the worker is there and enough is embedded to ask."""
        state = self._look()
        self._screen.say(f"The table docstrings has {state.total:,} texts of Python's library: {state.progress}")
        goal = min(ENOUGH, state.total)
        with self._screen.progress(goal) as show:
            while not (state.worker_is_there and (state.done >= goal or state.is_synced)):
                show(state)
                time.sleep(POLL)
                state = self._look()
            show(state)
        if not state.done:
            raise PgsbertError("No row could be embedded: look at the view pgsbert.failures.")

    def answer_prepared(self, started: float) -> None:
        """Answer what docstrings.QUESTIONS asks; the first answer comes with its SQL, the last one reranked."""
        self._screen.show_sql(questions.statement(QUESTIONS[0], self._connection))
        for question in QUESTIONS:
            self._answer(question)
            if question == QUESTIONS[0]:
                self._screen.say(f"  The first hits came {time.monotonic() - started:.1f} s after the start.")
        try:
            reranked = questions.rerank(QUESTIONS[-1], self._connection)
        except psycopg.DatabaseError as error:
            self._screen.say(f"\npgsbert.rerank: {error.diag.message_primary or error}")
        else:
            self._screen.show_hits(f"{QUESTIONS[-1]} - reranked", reranked)

    def answer_typed(self) -> None:
        """Answer what is typed until Ctrl-D; an error is told and the next question may come."""
        for question in self._screen.ask("Ask in English, or press Ctrl-D to end"):
            try:
                self._answer(question)
            except PgsbertError as error:
                self._screen.say(str(error))
            except psycopg.Error as error:
                if self._connection.broken:
                    raise
                self._screen.say(questions.reason(error))

    def _answer(self, question: str) -> None:
        hits = questions.answer(question, self._connection)
        self._screen.show_hits(question, hits, self._look().progress)

    def _look(self) -> table.State:
        """Return how far the table is; raises PgsbertError when the worker has ended or cannot load its model."""
        if (code := self._worker.wait()) is not None:
            raise PgsbertError(f"The worker ended with exit code {code}. {self._hint}")
        state = table.look(self._connection, self._worker.pid)
        if not (state.model_state or "present").startswith("present"):
            raise PgsbertError(f"The worker cannot load the model: {state.model_state}")
        return state


def _is_interactive() -> bool:
    # a stream that was closed before we started is None
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
