"""manage.py pgsbert_worker: the worker of one database of the settings."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS, connections

from pgsbert.django.databases import dsn_of


class Command(BaseCommand):
    """Become ``pgsbert worker`` on a database of the settings."""

    help = "Embeds new and changed rows and answers searches, until SIGTERM or Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        """Take the database, and after -- the options of ``pgsbert worker``."""
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, choices=tuple(connections))
        parser.add_argument("options", nargs="*", help="Options of 'pgsbert worker', after --.")

    def handle(self, *_: Any, database: str, options: list[str], **__: Any) -> None:
        """Take this process's place, so that signals and exit codes are the worker's own."""
        # not --dsn: every user of the machine sees the arguments of a process, and there may be a password
        environment = os.environ | {"PGSBERT_DSN": dsn_of(connections[database])}
        os.execve(sys.executable, [sys.executable, "-m", "pgsbert", "worker", *options], environment)  # noqa: S606
