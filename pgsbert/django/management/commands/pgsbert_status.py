"""manage.py pgsbert_status: how the vectorizers of one database of the settings are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS, connections

from pgsbert.django.models import Vectorizer


class Command(BaseCommand):
    """Print one line for each vectorizer."""

    help = "Shows each vectorizer: state, pending and failed rows, workers."
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        """Take the database."""
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, choices=tuple(connections))

    def handle(self, *_: Any, database: str, **__: Any) -> None:
        """Print them."""
        for one in Vectorizer.objects.using(database):
            reason = f" ({one.reason})" if one.reason else ""
            self.stdout.write(
                f"{one.name}: {one.state}{reason}, {one.pending} pending, {one.failed} failed, {one.workers} workers"
            )
