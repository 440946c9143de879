"""Posts, with an embedding of title and body."""

from django.db import models

from pgsbert.django import EmbeddingField, SearchManager


class Post(models.Model):
    """A post."""

    title = models.CharField(max_length=200)
    body = models.TextField()
    embedding = EmbeddingField(source=["title", "body"])

    objects = SearchManager()

    def __str__(self) -> str:
        return self.title
