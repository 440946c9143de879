"""A template says how the text of a row is made: what is embedded, what a rename does, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import pgsbert
from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]


def vector(text: str) -> str:
    return str([float(number) for number in FakeEncoder(8).encode([text])[0]])


@pytest.fixture(scope="module")
def at_work(shared_database: Database) -> Iterator[PgConnection]:
    """Give a connection to a database with a worker."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as opened:
        yield opened


@pytest.fixture
def shop(at_work: PgConnection) -> Iterator[PgConnection]:
    """Give a table product with a row of two texts, and one of none."""
    at_work.execute('create table product (id int primary key, name text, "Price (%)" numeric, note text)')
    at_work.execute("insert into product values (1, 'chair', 12.50, 'oak'), (2, null, null, '')")
    yield at_work
    at_work.execute("select pgsbert.drop_vectorizer(name) from pgsbert.vectorizer")
    at_work.execute("drop table if exists product, product_embedding, sold cascade")


def create(connection: PgConnection, template: str, **options: object) -> None:
    given = "".join(f", {name} => %({name})s" for name in options)
    arguments = f"'product', template => %(template)s, model => 'fake-8', index => 'none'{given}"
    connection.execute(f"select pgsbert.create_vectorizer({arguments})", {"template": template, **options})
    connection.execute("call pgsbert.wait_until_synced('product', '30 s')")


def embedded(connection: PgConnection, text: str, row: int = 1, table: str = "product") -> bool:
    (same,) = rows(connection, f"select embedding = %s::vector from {table} where id = %s", vector(text), row)
    return bool(same)


@pytest.mark.parametrize(
    ("given", "text"),
    {
        "two columns": ("{name}: {note}", "chair: oak"),
        "in another order, one twice": ("{note} {name} {note}", "oak chair oak"),
        "text around them": ("a {name}, made of {note}.", "a chair, made of oak."),
        "no text around": ("{name}{note}", "chairoak"),
        "braces of the text": ("{{{name}}} {{}} }}{{", "{chair} {} }{"),
        "a position in braces is text": ("{{1}} {note}", "{1} oak"),
        "a column of another type with a name to quote": (
            '{Price (%)} "%s" %% %(x)s {name}',
            '12.50 "%s" %% %(x)s chair',
        ),
        "quotes, backslashes and dollars": ("o'\\n'' $$ $1 ; -- \" {name} \\", "o'\\n'' $$ $1 ; -- \" chair \\"),
        "lines": ("{name}\n\n\t{note}\n", "chair\n\n\toak\n"),
    }.values(),
    ids=lambda value: None,
)
def test_the_text_is_the_template_with_the_values_of_the_row(shop: PgConnection, given: str, text: str) -> None:
    create(shop, given)
    assert embedded(shop, text)


@pytest.mark.parametrize("storage", ["column", "table"])
def test_null_counts_as_empty_and_a_row_without_any_value_has_no_vector(shop: PgConnection, storage: str) -> None:
    table = "product" if storage == "column" else "product_embedding"
    create(shop, "name {name} note {note}", storage=storage)
    with_vector = f"select id from {table} where embedding is not null"
    assert rows(shop, with_vector) == [1]
    shop.execute("update product set note = null where id = 1")
    shop.execute("update product set note = 'blue' where id = 2")
    shop.execute("call pgsbert.wait_until_synced('product', '30 s')")
    assert embedded(shop, "name chair note ", table=table)
    assert embedded(shop, "name  note blue", row=2, table=table)
    with shop.transaction():
        shop.execute("update product set name = '' where id = 1")
        # in the user's own transaction, with no model call
        assert rows(shop, with_vector) == [2]


def test_a_column_outside_the_template_is_not_tracked(shop: PgConnection) -> None:
    create(shop, "{name}")
    shop.execute("select pgsbert.pause_vectorizer('product')")
    shop.execute("update product set note = 'ash'")
    assert rows(shop, "select pending from pgsbert.status") == [0]
    shop.execute("update product set name = 'table' where id = 1")
    assert rows(shop, "select pending from pgsbert.status") == [1]
    shop.execute("select pgsbert.resume_vectorizer('product')")


def test_a_rename_of_columns_and_table_changes_nothing(shop: PgConnection) -> None:
    create(shop, "{name} of {note}")
    # each takes the name of the other: a template kept by name would now be turned round
    shop.execute(
        "begin; alter table product rename name to passing; alter table product rename note to name;"
        " alter table product rename passing to note; alter table product rename to sold; commit"
    )
    shop.execute("update sold set note = 'desk' where id = 1")
    shop.execute("call pgsbert.wait_until_synced('product', '30 s')")
    assert embedded(shop, "desk of oak", table="sold")


def test_the_reranker_reads_the_text_that_was_embedded(shop: PgConnection) -> None:
    create(shop, "{{{name}}} %s of {note}")
    (expression,) = rows(shop, "select pgsbert.document_expression(v, 's') from pgsbert.vectorizer as v")
    assert shop.execute(f"select {expression} from product as s where id = 1").fetchall() == [("{chair} %s of oak",)]
    (statement,) = rows(shop, "select pgsbert.search_sql(id, 'row', true) from pgsbert.vectorizer")
    assert f"{expression} as document" in statement
    shop.execute("update pgsbert.model set is_default = true where name = 'fake-reranker'")
    found = shop.execute("select (item).name, score from product_search('{chair} %s of oak', rerank => true)")
    assert [name for name, _ in found.fetchall()] == ["chair"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    {
        "both": ("columns => '{name}', template => '{note}'", "both given", "one of them"),
        "neither": ("name => 'x'", "no columns", "template =>"),
        "an unknown column": ("template => '{name} {colour}'", 'no column "colour"', "It has: id, name"),
        "a column in other letters": ("template => '{Name}'", 'no column "Name"', "It has: id, name"),
        "a placeholder without a name": ("template => '{name}{}'", 'no column ""', "It has: id, name"),
        "an expression": ("template => '{upper(name)}'", 'no column "upper(name)"', "It has: id, name"),
        "nothing": ("template => ''", "names no column", "{title}: {body}"),
        "no placeholder": ("template => 'a text'", "names no column", "{title}: {body}"),
        "braces of the text only": ("template => '{{name}}'", "names no column", "{title}: {body}"),
        "a brace that is not closed": (
            "template => '{name} {note'",
            "brace without its partner after '{1} '",
            "{{ or }}",
        ),
        "a brace that was not opened": (
            "template => '{name}} {note}'",
            "brace without its partner after '{1}'",
            "{{ or }}",
        ),
        "a brace in a placeholder": ("template => '{na{note}me}'", "brace without its partner", "{{ or }}"),
    }.values(),
    ids=lambda value: None,
)
def test_a_template_that_cannot_be_is_refused_with_the_next_step(
    shop: PgConnection, arguments: str, message: str, hint: str
) -> None:
    with pytest.raises(psycopg.Error) as caught:
        shop.execute(f"select pgsbert.create_vectorizer('product', model => 'fake-8', {arguments})")
    assert caught.value.sqlstate == "PB007"
    assert message in (caught.value.diag.message_primary or "")
    assert hint in (caught.value.diag.message_hint or "")
    assert rows(shop, "select name from pgsbert.vectorizer") == []


def test_a_virtual_column_is_refused_in_a_template_too(shop: PgConnection) -> None:
    shop.execute("alter table product add loud text generated always as (upper(name)) virtual")
    with pytest.raises(psycopg.Error, match="virtual generated column"):
        create(shop, "{loud}")


def test_python_takes_a_template(shop: PgConnection) -> None:
    pgsbert.create_vectorizer(shop, "product", template="{name} ({note})", model="fake-8", index="none")
    pgsbert.wait_until_synced(shop, "product")
    assert embedded(shop, "chair (oak)")
