"""How many rows a settle takes at a time: so many that their locks last some milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgsbert.testing import FakeEncoder
from pgsbert.work import Embedded, embed
from pgsbert.worker.settling import PACE, Settler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

    from pgsbert.queue import Queue

    OpenQueue = Callable[..., Awaitable[Queue]]


async def settle(settler: Settler, queue: Queue, rows: int) -> None:
    outcomes = embed(await queue.claim(rows), FakeEncoder(8).encode_counted)
    await settler.settle(queue, [outcome for outcome in outcomes if isinstance(outcome, Embedded)])


async def test_a_new_index_on_the_vectors_makes_the_pieces_small_again(
    articles: psycopg.Connection[Any], open_queue: OpenQueue
) -> None:
    """Without that, as many rows as cost 20 ms before hold their locks for 600 ms."""
    settler = Settler()
    articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 9) as i")
    await settle(settler, await open_queue(), 1)
    settler.pace = replace(PACE, size=512)
    await settle(settler, await open_queue(), 1)
    assert settler.pace.size == 512
    articles.execute("create index on articles using hnsw (embedding vector_cosine_ops)")
    await settle(settler, await open_queue(), 1)
    assert settler.pace.size <= PACE.size
