"""An application's own Alembic project in a folder: its env.py has the one line that pgsbert asks for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, MetaData, Table, Text

from pgsbert.declared import READ_REGISTERED, Registered
from pgsbert.sqlalchemy import Vectorizer
from pgsbert.testing import FakeEncoder
from tests.support import run_worker, wait_until

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support import Database

ENVIRONMENT = """
from alembic import context

import pgsbert.alembic

attributes = context.config.attributes
options = {"target_metadata": attributes["metadata"], **attributes["options"]}
if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"}, **options
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with attributes["engine"].connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
"""


@dataclass
class Project:
    """A project whose metadata changes from revision to revision."""

    folder: Path
    engine: Engine

    def __post_init__(self) -> None:
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(ENVIRONMENT, encoding="utf-8")
        template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
        shutil.copy(template, self.folder)

    def config(self, metadata: MetaData | None = None, **options: Any) -> Config:
        """Return the configuration for one command."""
        config = Config()
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        config.attributes.update(engine=self.engine, metadata=metadata, options=options)
        return config

    def generate(self, metadata: MetaData, **options: Any) -> str:
        """Write the migration that leads to the metadata, and return its text."""
        script: Any = command.revision(self.config(metadata, **options), autogenerate=True)
        return Path(script.path).read_text(encoding="utf-8")

    def write(self, upgrade: str, downgrade: str = "pass", imports: str = "import pgsbert.alembic") -> None:
        """Write a migration by hand."""
        script: Any = command.revision(self.config())
        path = Path(script.path)
        text = path.read_text(encoding="utf-8").replace(
            "import sqlalchemy as sa", f"import sqlalchemy as sa\n{imports}"
        )
        before, after = text.split("def downgrade")
        text = before.replace("    pass", upgrade) + "def downgrade" + after.replace("    pass", f"    {downgrade}")
        path.write_text(text, encoding="utf-8")

    def upgrade(self, to: str = "head", **options: Any) -> None:
        """Run the migrations."""
        command.upgrade(self.config(), to, **options)

    def downgrade(self, to: str) -> None:
        """Run migrations back."""
        command.downgrade(self.config(), to)

    def check(self, metadata: MetaData, **options: Any) -> None:
        """Raise what `alembic check` raises where a migration is missing."""
        command.check(self.config(metadata, **options))

    def differences(self, metadata: MetaData, **options: Any) -> list[Any]:
        """Return what autogenerate finds, whatever revision the database is at."""
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            found: list[Any] = compare_metadata(context, metadata)
        return [difference for difference in found if "alembic_version" not in str(difference)]

    def head(self) -> str | None:
        """Return the newest revision."""
        return ScriptDirectory.from_config(self.config()).get_current_head()


def notes(*items: Any, columns: tuple[str, ...] = ("title", "body"), schema: str | None = None) -> MetaData:
    """Return an application's metadata: one table, with the items."""
    metadata = MetaData(schema=schema)
    Table("notes", metadata, Column("id", Integer, primary_key=True), *(Column(name, Text) for name in columns), *items)
    return metadata


def registered(database: Database) -> list[Registered]:
    return [Registered.from_row(row) for row in database.execute(READ_REGISTERED)]


def body(text: str, function: str) -> str:
    """Return what a function of a migration does."""
    part = text.split(f"def {function}() -> None:")[1].split("def ")[0]
    lines = [line.strip() for line in part.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith(("#", '"""')))


def fill_and_settle(database: Database) -> None:
    """Let a worker embed rows and build its index: all that a vectorizer makes is there then."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        for found in registered(database):
            database.execute(f"call pgsbert.wait_until_synced('{found.name}')")
        wanted = sum(found.spec.index == "hnsw" for found in registered(database))
        query = (
            "select count(*) from pg_index as i join pg_class as c on c.oid = i.indexrelid"
            " join pg_am as a on a.oid = c.relam and a.amname = 'hnsw' where i.indisvalid"
        )
        wait_until(lambda: database.execute(query) == [wanted])


PLAIN = Vectorizer("title", "body", model="fake-8")
