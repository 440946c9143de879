"""What the tests of Django share: settings made once a process, pointed at the database of each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings
from django.db import connections
from psycopg.conninfo import conninfo_to_dict

from pgsbert.testing import FakeEncoder
from tests.support import run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database, RunningWorker

ENGINE = "django.db.backends.postgresql"

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        DATABASES={alias: {"ENGINE": ENGINE, "NAME": "none"} for alias in ("default", "other")},
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.postgres",
            "django.contrib.sessions",
            "pgsbert.django",
            "tests.integrations.django.library",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ROOT_URLCONF="tests.integrations.django.urls",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def _lead(alias: str, database: Database) -> None:
    connections[alias].close()
    given = conninfo_to_dict(database.dsn)
    keys = {"NAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    connections[alias].settings_dict.update({key: str(given.get(name) or "") for key, name in keys.items()})


def make_tables(alias: str = "default") -> None:
    """Create the tables of the test's models, as a migration would."""
    from tests.integrations.django.library import models

    with connections[alias].schema_editor() as editor:
        for model in models.TABLES:
            editor.create_model(model)


@pytest.fixture
def default(database: Database) -> Iterator[Any]:
    """Give Django's default connection, on the test's database, without tables."""
    _lead("default", database)
    yield connections["default"]
    connections["default"].close()


@pytest.fixture(scope="module")
def furnished(shared_database: Database) -> Database:
    """Give one database with the tables of the library to all tests of a file."""
    _lead("default", shared_database)
    make_tables()
    return shared_database


@pytest.fixture
def library(furnished: Database) -> Iterator[Any]:
    """Give the default connection on a database with the tables of the library, which are empty."""
    _lead("default", furnished)
    furnished.execute("truncate library_author, library_book, library_note, library_novel, library_page")
    furnished.execute("update pgsbert.model set is_default = false where kind = 'cross-encoder'")
    furnished.execute("select pgsbert.resume_vectorizer(name), pgsbert.discard_failures(name) from pgsbert.vectorizer")
    yield connections["default"]
    connections["default"].close()


@pytest.fixture
def shelves(library: Any, furnished: Database) -> Iterator[RunningWorker]:
    """Run a worker on the library, with a model of 8 dimensions."""
    with run_worker(furnished.dsn, encoder=FakeEncoder(8)) as running:
        yield running


@pytest.fixture
def lead() -> Any:
    """Give a function that points an alias at a database."""
    return _lead
