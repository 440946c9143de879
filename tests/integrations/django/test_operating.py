"""Admin pages and commands: how the vectorizers are, and what can be done about rows that failed."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pgsbert.django.databases import dsn_of
from pgsbert.django.models import Failure, Vectorizer
from tests.integrations.django.library.models import Book

if TYPE_CHECKING:
    from tests.support import RunningWorker


@pytest.fixture
def client(library: Any) -> Client:
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0, run_syncdb=False, interactive=False, skip_checks=True)
    user, _ = User.objects.get_or_create(username="anna", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


def fail_a_row() -> Book:
    book: Book = Book.objects.create(title="fake:refuse")
    Book.objects.create(title="red apple")
    Book.objects.wait_until_synced()
    return book


def test_the_pages_show_status_and_failures_and_change_nothing(client: Client, shelves: RunningWorker) -> None:
    book = fail_a_row()
    with CaptureQueriesContext(connections["default"]) as statements:
        page = client.get("/admin/pgsbert/vectorizer/").content.decode()
    assert "library_book" in page
    assert "active" in page
    assert len(statements) < 10
    page = client.get("/admin/pgsbert/failure/").content.decode()
    assert "ValueError" in page
    assert f">{book.pk}<" in page
    for url in ("vectorizer/add/", "failure/add/", "vectorizer/library_5Fbook/delete/"):
        assert client.get(f"/admin/pgsbert/{url}").status_code == 403
    assert client.get("/admin/pgsbert/vectorizer/library_5Fbook/change/").status_code == 200
    assert client.post("/admin/pgsbert/vectorizer/library_5Fbook/change/", {"name": "x"}).status_code == 403
    assert client.get("/admin/pgsbert/failure/library_5Fbook/change/").status_code == 302


def act(client: Client, page: str, action: str) -> str:
    data = {"action": action, "_selected_action": ["library_book"]}
    shown = client.post(f"/admin/pgsbert/{page}/", data, follow=True)
    return str(shown.content.decode())


def test_failures_are_retried_and_discarded_by_actions(client: Client, shelves: RunningWorker) -> None:
    fail_a_row()
    assert "Library_book: 1 rows are tried again." in act(client, "failure", "retry_failures")
    Book.objects.wait_until_synced()
    assert Failure.objects.get().error_class == "ValueError"
    assert "1 rows are forgotten" in act(client, "vectorizer", "discard_failures")
    assert not Failure.objects.exists()


def test_vectorizers_are_paused_resumed_and_refreshed_by_actions(client: Client) -> None:
    assert "Library_book: paused." in act(client, "vectorizer", "pause")
    assert Vectorizer.objects.get(name="library_book").state == "paused"
    assert "Library_book: resumed." in act(client, "vectorizer", "resume")
    assert "every row is embedded anew" in act(client, "vectorizer", "refresh")
    assert Vectorizer.objects.get(name="library_book").state == "filling"


def test_who_may_only_look_gets_no_actions(client: Client) -> None:
    from django.contrib.auth.models import Permission, User

    looker, _ = User.objects.get_or_create(username="berta", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_vectorizer"))
    client.force_login(looker)
    page = client.get("/admin/pgsbert/vectorizer/").content.decode()
    assert "library_book" in page
    assert "retry_failures" not in page
    act(client, "vectorizer", "pause")
    assert Vectorizer.objects.get(name="library_book").state != "paused"


def test_the_status_command_prints_a_line_for_each(library: Any) -> None:
    Book.objects.create(title="red apple")
    out = StringIO()
    call_command("pgsbert_status", stdout=out)
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("library_book:")]
    assert line.endswith("0 workers")
    with pytest.raises(CommandError, match="invalid choice: 'nowhere'"):
        call_command("pgsbert_status", "--database", "nowhere")


def test_the_connection_string_is_that_of_the_settings(library: Any) -> None:
    options = {"pool": False, "isolation_level": None, "application_name": "a b", "prepare_threshold": 5}
    before = library.settings_dict["OPTIONS"]
    library.settings_dict["OPTIONS"] = options
    try:
        assert "application_name='a b'" in dsn_of(library)
        assert "prepare_threshold" not in dsn_of(library)
    finally:
        library.settings_dict["OPTIONS"] = before


def test_importing_it_loads_no_model_library() -> None:
    program = (
        "import sys; from django.conf import settings;"
        "apps = ['auth', 'contenttypes', 'messages', 'sessions', 'admin', 'postgres'];"
        "settings.configure(INSTALLED_APPS=[*(f'django.contrib.{app}' for app in apps), 'pgsbert.django']);"
        "import django; django.setup(); import pgsbert.django.admin;"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
