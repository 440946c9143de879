"""What tests of applications need: models that need no files and misbehave on request."""

from pgsbert.models.fake import FakeEncoder, FakeReranker

__all__ = ["FakeEncoder", "FakeReranker"]
