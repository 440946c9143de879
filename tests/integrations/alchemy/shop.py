"""A catalog with what is seldom: a schema, composite keys, two vectorizers, both kinds of inheritance."""

from __future__ import annotations

from types import MappingProxyType

from sqlalchemy import ForeignKeyConstraint, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgsbert.sqlalchemy import Vectorizer


class Catalog(DeclarativeBase):
    metadata = MetaData(schema="My shop")


class Product(Catalog):
    __tablename__ = "Product's"
    __table_args__ = (
        Vectorizer(template="{Title}: {body}", model="fake-8", storage="table", name="products", distance="l2"),
        Vectorizer("body", model="fake-8", target="body_vector", name="bodies", distance="inner_product"),
    )

    shop: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column("No.", primary_key=True)
    kind: Mapped[str]
    title: Mapped[str] = mapped_column("Title")
    body: Mapped[str]
    __mapper_args__ = MappingProxyType({"polymorphic_on": "kind", "polymorphic_identity": "product"})


class Tool(Product):
    __mapper_args__ = MappingProxyType({"polymorphic_identity": "tool"})


class Machine(Product):
    __tablename__ = "machines"
    __table_args__ = (ForeignKeyConstraint(["shop", "No."], [Product.shop, Product.number]),)  # type: ignore[assignment]
    __mapper_args__ = MappingProxyType({"polymorphic_identity": "machine"})

    shop: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column("No.", primary_key=True)
    watts: Mapped[int]
