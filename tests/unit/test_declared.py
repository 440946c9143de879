"""What is declared of a vectorizer: checked early, rendered for SQL, compared with what is registered."""

from __future__ import annotations

import pytest

from pgsbert.declared import Registered, VectorizerSpec, keeps_vectors
from pgsbert.errors import UsageError

ROW = ("articles", "public", "articles", ["title", "body"], None, "mini", True, "column", "embedding", "cosine", "hnsw")
REGISTERED = Registered.from_row((*ROW, "keep", "accept", None, None, None))


def test_only_what_is_no_default_becomes_an_argument() -> None:
    assert VectorizerSpec(columns=("title",)).arguments() == {"columns": ["title"]}
    assert VectorizerSpec(template="{title}", distance="l2", triggers="row").arguments() == {
        "template": "{title}",
        "distance": "l2",
        "triggers": "row",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of them"),
        ({"columns": ("a",), "template": "{a}"}, "give one of them"),
        ({"columns": ()}, "give one of them"),
        ({"columns": "title"}, r'write \["title"\]'),
        ({"columns": ("a",), "storage": "disk"}, "storage='disk' is not known: it is one of column, table"),
        ({"columns": ("a",), "triggers": "all"}, "triggers='all' is not known"),
    ],
)
def test_what_sql_would_refuse_is_refused_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VectorizerSpec(**options)  # type: ignore[arg-type]


def test_a_template_names_its_columns_once_each() -> None:
    assert VectorizerSpec(template="{{{title}}}: {body}, {title}").tracked == ("title", "body")


@pytest.mark.parametrize("model", [None, "mini"])
def test_the_default_model_is_declared_by_its_name_or_by_none(model: str | None) -> None:
    assert REGISTERED.differences(VectorizerSpec(columns=("title", "body"), model=model)) == ()


@pytest.mark.parametrize(
    ("declared", "changed", "keeps"),
    [
        (VectorizerSpec(columns=("body", "title")), ("columns",), True),
        (VectorizerSpec(template="{title}"), ("columns", "template"), True),
        (VectorizerSpec(columns=("title", "body"), model="other"), ("model",), False),
        (VectorizerSpec(columns=("title", "body"), storage="table"), ("storage",), False),
        (VectorizerSpec(columns=("title", "body"), target="v"), ("target",), False),
        (VectorizerSpec(columns=("title", "body"), on_change="clear"), ("on_change",), True),
        (VectorizerSpec(columns=("title", "body"), on_truncate="refuse"), ("on_truncate",), False),
        (VectorizerSpec(columns=("title",), distance="l2"), ("columns", "distance"), False),
    ],
)
def test_each_changed_option_is_found(declared: VectorizerSpec, changed: tuple[str, ...], keeps: bool) -> None:
    assert REGISTERED.differences(declared) == changed
    assert keeps_vectors(changed) is keeps


def test_a_model_that_is_the_default_no_more_differs_from_none() -> None:
    registered = Registered.from_row((*ROW[:6], False, *ROW[7:], "keep", "accept", None, None, None))
    assert registered.differences(VectorizerSpec(columns=("title", "body"))) == ("model",)
    assert registered.differences(VectorizerSpec(columns=("title", "body"), model="mini")) == ()
