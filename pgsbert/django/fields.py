"""The field: a vector column that the database and a worker keep true, and that a save leaves alone.

What is loaded from the database carries that mark (``Stored``): only a vector that the application assigned itself is
written back, so that saving an object never undoes what the worker wrote since it was loaded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import FieldDoesNotExist
from pgvector.django import CosineDistance, L2Distance, MaxInnerProduct, VectorField

from pgsbert.declared import VectorizerSpec
from pgsbert.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgsbert.declared import Distance, Index, OnChange
    from pgsbert.types import OnTruncate

DISTANCES = {"cosine": CosineDistance, "l2": L2Distance, "inner_product": MaxInnerProduct}
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
NAME_LIMIT = 53  # bytes: the view <name>_neighbors must fit PostgreSQL's 63


class Stored(list[float]):
    """A vector as it was in the database: saving the object does not write it again."""


class EmbeddingField(VectorField):
    """The embedding of other fields of the model, made by a worker and NULL until it is there.

    ``source`` names the fields whose non-empty values are embedded, one a line, or ``template`` says how fields make
    the text ("{title}: {body}"); ``model`` None is the default bi-encoder of the database. ``vectorizer``
    names the vectorizer, as its table unless given. The other options are those of pgsbert.create_vectorizer.
    """

    description = "Embedding kept true by pgsbert"

    def __init__(
        self,
        *args: Any,
        source: Sequence[str] | None = None,
        template: str | None = None,
        model: str | None = None,
        vectorizer: str | None = None,
        distance: Distance = "cosine",
        index: Index = "hnsw",
        on_change: OnChange = "keep",
        on_truncate: OnTruncate = "accept",
        **kwargs: Any,
    ) -> None:
        self.source = source if source is None or isinstance(source, str) else tuple(source)
        self.template = template
        self.encoder = model  # not "model": Django keeps the class there
        self.vectorizer = vectorizer
        self.distance = distance
        self.index = index
        self.on_change = on_change
        self.on_truncate = on_truncate
        # nobody types a vector, and what is derived is in no fixture
        kwargs |= {"null": True, "blank": True, "editable": False, "serialize": False}
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[Any, Any, Any, Any]:
        """Return what a migration writes: the options that are not the defaults."""
        name, _, args, kwargs = super().deconstruct()
        for implied in ("null", "blank", "editable", "serialize", "dimensions"):
            kwargs.pop(implied, None)
        given = {
            "source": list(self.source) if isinstance(self.source, tuple) else self.source,
            "template": self.template,
            "model": self.encoder,
            "vectorizer": self.vectorizer,
            "distance": None if self.distance == "cosine" else self.distance,
            "index": None if self.index == "hnsw" else self.index,
            "on_change": None if self.on_change == "keep" else self.on_change,
            "on_truncate": None if self.on_truncate == "accept" else self.on_truncate,
        }
        kwargs |= {option: value for option, value in given.items() if value is not None}
        return name, "pgsbert.django.EmbeddingField", args, kwargs

    def db_type(self, connection: Any) -> str | None:  # type: ignore[override]  # as any field's
        """Return the type without dimensions: create_vectorizer makes the column with those of the model."""
        return "vector" if connection.vendor == "postgresql" else None

    def contribute_to_class(self, cls: Any, name: str, **kwargs: Any) -> None:
        """Join a model, whose saves then leave out vectors that only the worker has written."""
        super().contribute_to_class(cls, name, **kwargs)
        if not hasattr(cls._do_update, "leaves_stored_vectors"):
            cls._do_update = _leaving_stored_vectors(cls._do_update)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Stored | None:
        """Return the vector with the mark that it came from the database."""
        vector = super().from_db_value(value, expression, connection)
        return None if vector is None else Stored(vector)

    def pre_save(self, instance: Any, add: bool) -> Any:
        """Return what is to be written; the object holds it as stored from now on."""
        value = super().pre_save(instance, add)
        if value is not None and not isinstance(value, Stored) and not hasattr(value, "resolve_expression"):
            setattr(instance, self.attname, Stored(self.to_python(self.get_prep_value(value)) or ()))
        return value

    def spec(self, model: Any) -> VectorizerSpec:
        """Return what create_vectorizer is to make, by the columns that the fields of ``model`` have."""

        def column(name: str) -> str:
            return str(model._meta.get_field(name).column)

        return VectorizerSpec(
            columns=None if self.source is None else tuple(column(name) for name in self.source),
            template=None
            if self.template is None
            else PLACEHOLDER.sub(lambda found: f"{{{column(found[1])}}}" if found[1] else found[0], self.template),
            name=self.vectorizer,
            model=self.encoder,
            target=self.column,
            distance=self.distance,
            index=self.index,
            on_change=self.on_change,
            on_truncate=self.on_truncate,
        )

    def has_sources(self, model: Any) -> bool:
        """Tell whether all source fields are there: between the operations of a migration one may have another name."""
        names = {field.name for field in model._meta.get_fields()}
        return names.issuperset(self._source_names())

    def _source_names(self) -> tuple[str, ...]:
        if self.source is not None:
            return tuple(self.source)
        return VectorizerSpec(template=self.template).tracked

    def vectorizer_name(self) -> str:
        """Return the name a new vectorizer gets: what was given, or the table's."""
        return self.vectorizer or str(self.model._meta.db_table).rpartition(".")[2].strip('"')

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Report what create_vectorizer would refuse, before a migration is written."""
        return [*super().check(**kwargs), *self._check_app(), *self._check_options(), *self._check_model()]

    def _check_app(self) -> Iterator[checks.CheckMessage]:
        from django.apps import apps

        if not apps.is_installed("pgsbert.django"):
            hint = "Without it, migrations make no vectorizer."
            yield checks.Error("'pgsbert.django' must be in INSTALLED_APPS.", hint=hint, obj=self, id="pgsbert.E001")

    def _check_options(self) -> Iterator[checks.CheckMessage]:
        if isinstance(self.source, str):
            hint = f'For one field write source=["{self.source}"].'
            yield checks.Error("source must be a list of fields.", hint=hint, obj=self, id="pgsbert.E002")
            return
        try:
            VectorizerSpec(
                columns=self.source,
                template=self.template,
                distance=self.distance,
                index=self.index,
                on_change=self.on_change,
                on_truncate=self.on_truncate,
            )
        except UsageError as error:
            text = str(error).replace("columns to embed", "source")
            yield checks.Error(text, obj=self, id="pgsbert.E002")
            return
        names = self._source_names()
        if not names:
            hint = "Write each as {field}: '{title}: {body}'."
            yield checks.Error("template names no field.", hint=hint, obj=self, id="pgsbert.E002")
        for name in names:
            yield from self._check_source(name)

    def _check_source(self, name: str) -> Iterator[checks.CheckMessage]:
        try:
            field = self.model._meta.get_field(name)
        except FieldDoesNotExist:
            known = ", ".join(field.name for field in self.model._meta.local_concrete_fields if field is not self)
            text = f"The embedding is made of '{name}', and {self.model.__name__} has no such field."
            yield checks.Error(text, hint=f"It has: {known}.", obj=self, id="pgsbert.E003")
            return
        if not getattr(field, "concrete", False) or field.many_to_many:
            yield checks.Error(f"The embedding is made of '{name}', which has no column.", obj=self, id="pgsbert.E004")
        elif field not in self.model._meta.local_concrete_fields:
            text = f"The embedding is made of '{name}', which is in the table of {field.model.__name__}."
            hint = f"Put the EmbeddingField on {field.model.__name__}: a vectorizer follows one table."
            yield checks.Error(text, hint=hint, obj=self, id="pgsbert.E005")
        elif field is self or (field.generated and not field.db_persist):
            text = f"The embedding is made of '{name}', whose changes cannot be followed."
            hint = "Name fields that are stored: no virtual GeneratedField, nor this field itself."
            yield checks.Error(text, hint=hint, obj=self, id="pgsbert.E006")

    def _check_model(self) -> Iterator[checks.CheckMessage]:
        if not self.model._meta.managed:
            hint = "Make it with pgsbert.create_vectorizer, as the owner of the table."
            text = "The model is not managed, so no migration makes the vectorizer."
            yield checks.Warning(text, hint=hint, obj=self, id="pgsbert.W007")
        if len(self.vectorizer_name().encode()) > NAME_LIMIT:
            text = f"The vectorizer's name '{self.vectorizer_name()}' is longer than {NAME_LIMIT} bytes."
            yield checks.Error(text, hint="Pass vectorizer= a shorter one.", obj=self, id="pgsbert.E008")


def embedding_fields(model: Any) -> list[EmbeddingField]:
    """Return the embedding fields whose columns are in the table of a model."""
    return [field for field in model._meta.local_fields if isinstance(field, EmbeddingField)]


def _leaving_stored_vectors(do_update: Callable[..., Any]) -> Callable[..., Any]:
    def _do_update(self: Any, base_qs: Any, using: Any, pk_val: Any, values: Any, *more: Any) -> Any:
        written = [item for item in values if not _is_stored(item[0], item[2])]
        return do_update(self, base_qs, using, pk_val, written, *more)

    _do_update.leaves_stored_vectors = True  # type: ignore[attr-defined]
    return _do_update


def _is_stored(field: Any, value: Any) -> bool:
    # None is what an object was loaded with before the worker came: never a wish to clear the vector
    return isinstance(field, EmbeddingField) and (value is None or isinstance(value, Stored))
