"""What operators look at, as unmanaged models over the views of schema pgsbert: nothing here has a table of its own."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Vectorizer(models.Model):
    """A vectorizer with its state: filling, active, paused or broken."""

    name = models.TextField(primary_key=True)
    source = models.TextField()
    state = models.TextField()
    reason = models.TextField(null=True)
    model = models.TextField()
    rows = models.BigIntegerField()
    pending = models.BigIntegerField()
    failed = models.BigIntegerField()
    oldest_pending = models.DateTimeField(null=True)
    rate = models.FloatField()
    workers = models.BigIntegerField()
    progress = models.FloatField()

    class Meta:
        """The view pgsbert.status."""

        managed = False
        db_table = '"pgsbert"."status"'
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return str(self.name)


class Failure(models.Model):
    """A row that could not be embedded. The view has no key, so Django takes the vectorizer's name for one."""

    vectorizer = models.TextField(primary_key=True)
    key = ArrayField(models.TextField())
    attempts = models.IntegerField()
    error_class = models.TextField()
    error = models.TextField()
    failed_at = models.DateTimeField()

    class Meta:
        """The view pgsbert.failures."""

        managed = False
        db_table = '"pgsbert"."failures"'
        ordering: ClassVar = ["vectorizer", "key"]

    def __str__(self) -> str:
        return f"{self.vectorizer} {', '.join(self.key)}"
