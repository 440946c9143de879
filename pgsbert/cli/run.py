"""Commands that run: worker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from datetime import timedelta
from typing import Annotated

import typer

from pgsbert.cli.options import AllowFake, Device, Dsn
from pgsbert.settings import database_dsn


def worker(
    dsn: Dsn = None,
    drain: Annotated[bool, typer.Option("--drain", help="End when nothing is left to embed.")] = False,
    poll: Annotated[float, typer.Option("--poll", min=0.05, help="Seconds between looks without a notification.")] = 5,
    device: Device = None,
    allow_fake: AllowFake = False,
) -> None:
    """Embed new and changed rows and answer questions, until SIGTERM or Ctrl-C."""
    from pgsbert.models.load import load
    from pgsbert.worker import Options, Worker

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = Options(dsn=database_dsn(dsn), drain=drain, poll=timedelta(seconds=poll))

    async def run() -> None:
        one = Worker(options, lambda model: load(model, allow_fake=allow_fake, device=device))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, one.stop)
        await one.run()

    asyncio.run(run())
    sys.stderr.flush()
    # a model that hangs in its thread must not hold up the end
    os._exit(0)
