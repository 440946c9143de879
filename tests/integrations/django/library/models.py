"""Models with embeddings of each kind that there is."""

from __future__ import annotations

from django.db import models

from pgsbert.django import EmbeddingField, SearchManager


class Author(models.Model):
    name = models.CharField(max_length=100)


class Book(models.Model):
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    views = models.IntegerField(default=0)
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    embedding = EmbeddingField(source=["title", "body"], model="fake-8")

    objects = SearchManager()


class Described(models.Model):
    """An abstract model: each child has a vectorizer of its own."""

    text = models.TextField()
    embedding = EmbeddingField(source=["text"], model="fake-8", index="none")

    objects = SearchManager()

    class Meta:
        abstract = True


class Note(Described):
    pass


class Novel(Book):
    """A child by multi-table inheritance: the embedding is in the parent's table."""

    genre = models.CharField(max_length=20)


class Page(models.Model):
    """A composite key, another distance, a template."""

    pk = models.CompositePrimaryKey("volume", "number")
    volume = models.TextField()
    number = models.IntegerField()
    words = models.TextField(db_column="Words")
    embedding = EmbeddingField(template="{{{volume}}} {words}", model="fake-8", distance="l2", on_change="clear")

    objects = SearchManager()


TABLES = [Author, Book, Note, Novel, Page]
