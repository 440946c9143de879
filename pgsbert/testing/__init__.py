"""What tests of applications need: models that need no files and misbehave on request."""

from pgsbert.models.fake import FakeClassifier, FakeEncoder, FakeReranker

__all__ = ["FakeClassifier", "FakeEncoder", "FakeReranker"]
