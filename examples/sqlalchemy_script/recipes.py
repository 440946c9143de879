"""Recipes found by what they mean, with SQLAlchemy: python recipes.py postgresql+psycopg:///shop

The database has pgsbert and a worker runs: docs/sqlalchemy.md says how.
"""

import sys
from typing import Any

from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgsbert.sqlalchemy import embed, embedded_column, search


class Base(DeclarativeBase):
    """All that this script maps."""


class Recipe(Base):
    """A recipe; pgsbert keeps its embedding true."""

    __tablename__ = "recipes"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    method: Mapped[str]
    minutes: Mapped[int]
    embedding: Mapped[Any] = embedded_column("title", "method")


RECIPES = [
    Recipe(title="Leek and potato soup", method="Simmer sliced leeks and potatoes in stock, then blend.", minutes=35),
    Recipe(title="Lemon sorbet", method="Freeze lemon juice with sugar syrup, stirring now and then.", minutes=240),
    Recipe(title="Pancakes", method="Fry a thin batter of eggs, milk and flour on both sides.", minutes=20),
    Recipe(title="Grilled salmon", method="Brush the fish with oil and grill it for four minutes a side.", minutes=15),
    Recipe(title="Lentil stew", method="Cook lentils with carrots and cumin until soft.", minutes=45),
    Recipe(title="Fruit salad", method="Cut apples, pears and oranges and dress them with mint.", minutes=10),
]

engine = create_engine(sys.argv[1])
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all(RECIPES)
    session.commit()
# a script waits for the worker once; an application need not
with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
    connection.execute(text("call pgsbert.wait_until_synced('recipes')"))

with Session(engine) as session:
    print("breakfast for children")
    for hit in search(session, Recipe, "breakfast for children", k=2):
        print(f"  {hit.score:.2f} {hit.item.title}")
    print("a dessert, in at most half an hour")
    for hit in search(session, select(Recipe).where(Recipe.minutes <= 30), "a dessert", k=2):
        print(f"  {hit.score:.2f} {hit.item.title}, {hit.item.minutes} minutes")
    print("nearest to 'seafood', as an expression")
    nearest = Recipe.embedding.cosine_distance(embed("seafood"))
    print(f"  {session.scalars(select(Recipe.title).order_by(nearest).limit(1)).one()}")

Base.metadata.drop_all(engine)
