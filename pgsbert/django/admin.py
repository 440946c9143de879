"""Admin pages: how the vectorizers are, and which rows failed. Read-only, with actions of the SQL functions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import connections

from pgsbert.django.models import Failure, Vectorizer


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows, and changes nothing but by its actions."""

    def has_add_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Refuse to edit a row; who has the permission may run actions."""
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_steer_permission(self, request: Any) -> bool:
        """Allow the actions to those who may change the model; the database asks for the table's owner as well."""
        return bool(request.user.has_perm(f"pgsbert.change_{self.opts.model_name}"))


def _each(request: Any, queryset: Any, function: str, done: str) -> None:
    with connections[queryset.db].cursor() as cursor:
        for name in sorted(set(queryset.values_list("pk", flat=True))):
            cursor.execute(f"SELECT pgsbert.{function}(%s)", [name])
            count = cursor.fetchone()[0]
            messages.success(request, f"{name}: {done.format(count)}")


@admin.action(permissions=["steer"], description="Retry the failed rows of the vectorizer")
def retry_failures(_: Any, request: Any, queryset: Any) -> None:
    """Queue the failed rows again."""
    _each(request, queryset, "retry_failures", "{} rows are tried again.")


@admin.action(permissions=["steer"], description="Discard the failed rows of the vectorizer")
def discard_failures(_: Any, request: Any, queryset: Any) -> None:
    """Forget the failed rows."""
    _each(request, queryset, "discard_failures", "{} rows are forgotten and stay without a vector.")


@admin.action(permissions=["steer"], description="Pause: changes are queued, nothing is embedded")
def pause(_: Any, request: Any, queryset: Any) -> None:
    """Stop the claims."""
    _each(request, queryset, "pause_vectorizer", "paused.")


@admin.action(permissions=["steer"], description="Resume")
def resume(_: Any, request: Any, queryset: Any) -> None:
    """End the pause."""
    _each(request, queryset, "resume_vectorizer", "resumed.")


@admin.action(permissions=["steer"], description="Embed every row anew")
def refresh(_: Any, request: Any, queryset: Any) -> None:
    """Start the walk over all rows."""
    _each(request, queryset, "refresh", "every row is embedded anew.")


@admin.register(Vectorizer)
class VectorizerAdmin(ReadOnlyAdmin):
    """How the vectorizers are."""

    list_display = ("name", "source", "state", "reason", "model", "pending", "failed", "oldest_pending", "workers")
    actions = (retry_failures, discard_failures, pause, resume, refresh)


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Which rows failed. An action is about all failed rows of the vectorizers of those chosen."""

    list_display = ("vectorizer", "key", "attempts", "error_class", "error", "failed_at")
    list_display_links = None
    list_filter = ("vectorizer", "error_class")
    actions = (retry_failures, discard_failures)

    def get_object(self, *_: Any, **__: Any) -> None:
        """Return none: no page is about one failure."""
