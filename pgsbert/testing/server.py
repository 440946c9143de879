"""A PostgreSQL of the tests' own: without durability, and gone when they end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pgsbert import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

# a crash of the machine ends the tests anyway
SETTINGS = {"fsync": "off", "max_connections": "200", "log_min_messages": "fatal"}


@contextmanager
def throwaway_server() -> Iterator[embedded.EmbeddedServer]:
    """Run an embedded PostgreSQL with pgvector on a folder that is removed at the end.

    It needs the extra "embedded"; raises as pgsbert.embedded.start does.
    """
    # not pytest's tmp_path: as root the server runs as another user, who must reach the folder
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with embedded.start(folder / "postgres", settings=SETTINGS) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
