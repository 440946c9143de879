"""Commands that run: worker, demo, up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Optional, get_args

import typer

from pgsbert.cli.options import AllowFake, Device, Dsn, Engine, Threads, ending_in_order, log_to_stderr
from pgsbert.errors import ModelHangsError, UsageError
from pgsbert.events import log, subscribe
from pgsbert.settings import database_dsn
from pgsbert.types import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgsbert.worker import Worker


def worker(
    dsn: Dsn = None,
    listen_dsn: Annotated[
        Optional[str],
        typer.Option(
            "--listen-dsn", help="The server itself, where --dsn leads to a transaction pooler.", show_default=False
        ),
    ] = None,
    poll_only: Annotated[
        bool, typer.Option("--poll-only", help="Neither LISTEN nor hold locks: nothing but a pooler leads there.")
    ] = False,
    serve: Annotated[
        str,
        typer.Option("--serve", help="What this worker does, of rows, embed and rerank (which classifies as well)."),
    ] = ",".join(get_args(Service)),
    drain: Annotated[bool, typer.Option("--drain", help="End when nothing is left to embed.")] = False,
    poll: Annotated[
        Optional[float],
        typer.Option(
            "--poll",
            min=0.05,
            help="Seconds between looks without a notification; 5, with --poll-only 1.",
            show_default=False,
        ),
    ] = None,
    model_timeout: Annotated[
        float, typer.Option("--model-timeout", min=0.05, help="Seconds that one call of a model may last.")
    ] = 120,
    sweep_every: Annotated[
        float, typer.Option("--sweep-every", min=1, help="Seconds between searches for rows that no trigger saw.")
    ] = 600,
    engine: Engine = "auto",
    device: Device = None,
    threads: Threads = None,
    allow_fake: AllowFake = False,
    metrics_port: Annotated[
        Optional[int],
        typer.Option(
            "--metrics-port", min=0, max=65535, help="Serve /metrics, /ready and /live for Prometheus and probes."
        ),
    ] = None,
    metrics_address: Annotated[str, typer.Option("--metrics-address", help="Address to serve them on.")] = "127.0.0.1",
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True, help="End when standard input ends.")] = False,
) -> None:
    """Embed new and changed rows and answer questions, until SIGTERM or Ctrl-C."""
    from pgsbert.models.load import Runtime, load
    from pgsbert.worker import Options, Worker

    if poll_only and listen_dsn is not None:
        raise UsageError("--poll-only does not listen: leave it out, or --listen-dsn.")
    serves = _services(serve)
    if drain and "rows" not in serves:
        raise UsageError("--drain ends when no row waits: it needs --serve rows.")
    runtime = Runtime(engine=engine, device=device, threads=threads, allow_fake=allow_fake)

    log_to_stderr()
    options = Options(
        dsn=database_dsn(dsn),
        listen_dsn=None if listen_dsn is None else database_dsn(listen_dsn),
        poll_only=poll_only,
        drain=drain,
        poll=timedelta(seconds=poll if poll is not None else 1 if poll_only else 5),
        counts_queues=metrics_port is not None,
        model_timeout=timedelta(seconds=model_timeout),
        sweep_every=timedelta(seconds=sweep_every),
        serves=serves,
    )

    async def run() -> None:
        one = Worker(options, lambda model: load(model, runtime))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, one.stop)
        if until_eof:
            _call_at_eof(one.stop)
        if metrics_port is not None:
            _serve_metrics(one, metrics_address, metrics_port)
        await one.run()

    code = 0
    try:
        asyncio.run(run())
    except ModelHangsError as error:
        typer.echo(f"pgsbert: {error}", err=True)
        code = 1
    sys.stderr.flush()
    # a model that hangs in its thread must not hold up the end
    os._exit(code)


def _services(given: str) -> tuple[Service, ...]:
    """Return what a worker serves, as ``--serve`` names it."""
    named = {name.strip() for name in given.split(",")}
    if not named or not named <= set(get_args(Service)):
        raise UsageError(f"--serve takes some of {', '.join(get_args(Service))}, separated by commas; not {given!r}.")
    return tuple(service for service in get_args(Service) if service in named)


def demo() -> None:
    """Search the standard library's docstrings by meaning, on a PostgreSQL that starts by itself.

    Ends with exit code 0 after the prepared questions, or on a terminal with Ctrl-D or Ctrl-C. The data are kept:
    the next run goes on where this one stopped.
    """
    from pgsbert import demo

    with suppress(KeyboardInterrupt), ending_in_order():
        demo.run()


def up(
    database: Annotated[str, typer.Option("--database", help="Made if it is not there.")] = "pgsbert",
) -> None:
    """Run the embedded PostgreSQL and a worker until Ctrl-C or SIGTERM; prints the connection string on stdout."""
    from pgsbert import embedded, schema, sidecar

    log_to_stderr()
    with suppress(KeyboardInterrupt), ending_in_order(), embedded.start() as server:
        embedded.create_database(server, database)
        dsn = server.dsn(database)
        schema.install(dsn)
        sidecar.keep_working(dsn, announce=lambda: typer.echo(dsn), check=server.dsn)


def _serve_metrics(one: Worker, address: str, port: int) -> None:
    try:
        from pgsbert.worker.metrics import Metrics, serve
    except ImportError as error:
        raise UsageError('Metrics need prometheus-client: pip install "pgsbert[worker]".') from error
    metrics = Metrics(lambda: one.unready)
    subscribe(metrics.observe)
    try:
        server = serve(metrics, lambda: one.unready, address=address, port=port)
    except OSError as error:
        raise UsageError(f"The metrics cannot be served on {address}:{port}: {error.strerror}.") from error
    log("metrics_served", address=address, port=server.server_port)


def _call_at_eof(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, look)
