"""What tests of applications need: a database, a worker and models that need no files and misbehave on request.

The pytest plugin is pgsbert.testing.plugin; what its fixtures do can be called here too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgsbert.models.fake import FakeClassifier, FakeEncoder, FakeReranker
    from pgsbert.testing.container import PgsbertContainer
    from pgsbert.testing.database import Database, Server, new_database
    from pgsbert.testing.server import throwaway_server
    from pgsbert.testing.synced import wait_until_synced
    from pgsbert.testing.worker import RunningWorker, run_worker
else:
    # late: pytest imports this package in each of its runs, for the plugin
    _HOMES = {
        "Database": "pgsbert.testing.database",
        "FakeClassifier": "pgsbert.models.fake",
        "FakeEncoder": "pgsbert.models.fake",
        "FakeReranker": "pgsbert.models.fake",
        "PgsbertContainer": "pgsbert.testing.container",
        "RunningWorker": "pgsbert.testing.worker",
        "Server": "pgsbert.testing.database",
        "new_database": "pgsbert.testing.database",
        "run_worker": "pgsbert.testing.worker",
        "throwaway_server": "pgsbert.testing.server",
        "wait_until_synced": "pgsbert.testing.synced",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "Database",
    "FakeClassifier",
    "FakeEncoder",
    "FakeReranker",
    "PgsbertContainer",
    "RunningWorker",
    "Server",
    "new_database",
    "run_worker",
    "throwaway_server",
    "wait_until_synced",
]
