"""Images in bytea columns: embedded, cleared, bounded, refused. A fake image is the text of its bytes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

import pgsbert
from pgsbert import queue as queues
from pgsbert.requests import Requests
from pgsbert.testing import FakeEncoder
from pgsbert.work import Embedded
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pgsbert.queue import Queue
    from pgsbert.types import Vectors
    from tests.support import Database, RunningWorker

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

MEBIBYTE = 2**20
KINDS = ("column", "table", "row", "partitioned")


def create(connection: Connection, kind: str = "column", *, existing: bytes | None = None, **options: str) -> str:
    """Make the table photos with a vectorizer on its images; return what its vectors are read by, in order of id.

    Row 1, with an image, is there before if there is one ``existing``.
    """
    partitioned = " partition by range (id)" if kind == "partitioned" else ""
    connection.execute("create table photos (id int primary key, title text, image bytea)" + partitioned)
    if partitioned:
        # whose columns have other numbers
        connection.execute("create table photos_of_all (image bytea, gone int, id int primary key, title text)")
        connection.execute("alter table photos_of_all drop column gone")
        connection.execute("alter table photos attach partition photos_of_all default")
    if existing is not None:
        insert(connection, 1, existing)
    stored = "table" if kind == "table" else "column"
    if kind == "row":
        options["triggers"] = "row"
    pgsbert.create_vectorizer(connection, "photos", ["image"], model="fake-8", storage=stored, **options)
    if kind == "table":
        return "select id, e.embedding::real[] from photos left join photos_embedding as e using (id) order by id"
    return "select id, embedding::real[] from photos order by id"


def expected(*images: bytes) -> list[list[float]]:
    vectors: list[list[float]] = FakeEncoder(8).encode_images(images).tolist()
    return vectors


def are_of(found: list[Any], images: dict[int, bytes | None]) -> bool:
    """Whether each row has the vector of its image, and one without an image none."""
    assert [id_ for id_, _ in found] == list(images)
    return all(
        vector is None if not image else np.allclose(vector, expected(image)[0], atol=1e-6)
        for (_, vector), image in zip(found, images.values(), strict=True)
    )


def insert(connection: Connection, id_: int, image: bytes | None) -> None:
    connection.execute("insert into photos (id, title, image) values (%s, 'a title', %b)", [id_, image])


def synced(connection: Connection) -> None:
    connection.execute("call pgsbert.wait_until_synced('photos', '20 s')")


@pytest.fixture
def images(connection: Connection) -> Connection:
    """Let fake-8 take images, as pgsbert model add registers it; fake-384 takes text only."""
    connection.execute("update pgsbert.model set modalities = '{text,image}' where name = 'fake-8'")
    connection.execute("set pgsbert.timeout = '20s'")
    return connection


@pytest.fixture
def image_worker(images: Connection, database: Database) -> Iterator[RunningWorker]:
    with run_worker(database.dsn, encoder=FakeEncoder(8)) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("image_worker")
def test_images_of_existing_new_and_changed_rows_are_embedded(images: Connection, kind: str) -> None:
    vectors = create(images, kind, existing=b"a red \x00\xff bicycle")
    for id_, image in ((2, b"a cat"), (3, b""), (4, None)):
        insert(images, id_, image)
    synced(images)
    assert are_of(rows(images, vectors), {1: b"a red \x00\xff bicycle", 2: b"a cat", 3: None, 4: None})
    images.execute("update photos set image = 'a dog' where id in (2, 3)")
    images.execute("select pgsbert.refresh('photos')")
    synced(images)
    assert are_of(rows(images, vectors), {1: b"a red \x00\xff bicycle", 2: b"a dog", 3: b"a dog", 4: None})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", ["''", "null"])
def test_an_image_that_goes_takes_its_vector_with_it_before_any_worker_ran(
    images: Connection, database: Database, kind: str, empty: str
) -> None:
    vectors = create(images, kind)
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        insert(images, 1, b"a cat")
        insert(images, 2, b"a dog")
        synced(images)
    images.execute(f"update photos set image = {empty} where id = 1")
    assert are_of(rows(images, vectors), {1: None, 2: b"a dog"})


def test_a_changed_image_loses_its_vector_where_that_is_wanted(images: Connection, database: Database) -> None:
    vectors = create(images, on_change="clear")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        insert(images, 1, b"a cat")
        insert(images, 2, b"a dog")
        synced(images)
    images.execute("update photos set title = 'another', image = case id when 1 then 'A cat'::bytea else image end")
    assert are_of(rows(images, vectors), {1: None, 2: b"a dog"})


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_change_of_the_bytes_is_queued(images: Connection, kind: str) -> None:
    create(images, kind)
    for id_ in (1, 2, 3):
        insert(images, id_, b"a cat" if id_ < 3 else None)
    images.execute("delete from pgsbert.pending_1")
    images.execute("update photos set title = 'another', image = image || ''")
    images.execute("update photos set image = '' where id = 3")
    assert rows(images, "select k1 from pgsbert.pending_1") == []
    images.execute(r"update photos set image = 'a cat\000' where id = 2")
    assert rows(images, "select k1 from pgsbert.pending_1") == [2]


def test_identical_images_are_embedded_once(image_worker: RunningWorker, images: Connection) -> None:
    create(images)
    images.execute("insert into photos (id, image) select i, 'the same' from generate_series(1, 40) as i")
    synced(images)
    assert image_worker.encoder.texts == 1
    assert rows(images, "select count(distinct embedding::text) from photos where embedding is not null") == [1]


@pytest.mark.usefixtures("image_worker")
def test_a_text_finds_the_image_it_is_about(images: Connection) -> None:
    create(images, index="none")
    for id_, image in enumerate((b"a red bicycle", b"a blue sea", b"a green tree")):
        insert(images, id_, image)
    synced(images)
    assert rows(images, "select (item).id from photos_search('a red bicycle', k => 1)") == [0]
    [(item,)] = images.execute("select item from pgsbert.search('photos', 'a blue sea', k => 1)").fetchall()
    assert item == {"id": 1, "title": "a title"}  # neither the vector nor the image
    nearest = "select id from photos order by embedding <=> (select pgsbert.embed_image(%b, 'fake-8')) limit 1"
    assert rows(images, nearest, b"a green tree") == [2]
    assert rows(images, "select neighbor_id from photos_neighbors where id = 0 order by distance limit 1") != [0]


@pytest.mark.usefixtures("image_worker")
def test_images_cannot_be_reranked(images: Connection) -> None:
    create(images)
    images.execute("update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'")
    with pytest.raises(psycopg.Error, match="are images: a cross-encoder reads texts") as refused:
        images.execute("select * from photos_search('a red bicycle', rerank => true)")
    assert refused.value.sqlstate == "PB007"
    insert(images, 1, b"a cat")
    with pytest.raises(psycopg.Error, match="are images: a cross-encoder reads texts"):
        images.execute("select pgsbert.document('photos', p) from photos as p")


REFUSED = {
    "beside a text": ("columns => '{title,image}'", "PB007", "not together with other columns"),
    "before a text": ("columns => '{image,title}'", "PB007", "not together with other columns"),
    "two images": ("columns => '{image,second}'", "PB007", "not together with other columns"),
    "in a template": ("template => 'photo: {image}'", "PB007", "not in a template"),
    "text only": ("columns => '{image}', model => 'fake-384'", "PB004", '"fake-384" takes text only'),
    "of a domain": ("columns => '{of_domain}', model => 'fake-384'", "PB004", "takes text only"),
    "cross-encoder": ("columns => '{image}', model => 'fake-reranker'", "PB004", "an embedding needs a bi-encoder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_embedded_is_refused_and_nothing_made(images: Connection, case: str) -> None:
    arguments, sqlstate, message = REFUSED[case]
    images.execute("create domain jpeg as bytea")
    images.execute("create table photos (id int primary key, title text, image bytea, second bytea, of_domain jpeg)")
    model = "" if "model" in arguments else ", model => 'fake-8'"
    with pytest.raises(psycopg.Error, match=message) as refused:
        images.execute(f"select pgsbert.create_vectorizer('photos', {arguments}{model})")
    assert refused.value.sqlstate == sqlstate
    assert rows(images, "select count(*) from pgsbert.vectorizer") == [0]


@pytest.mark.usefixtures("image_worker")
def test_a_model_for_images_embeds_columns_of_text_too_and_images_of_a_domain(images: Connection) -> None:
    images.execute("create domain jpeg as bytea check (octet_length(value) < 100)")
    images.execute("create table photos (id int primary key, title text, image jpeg)")
    pgsbert.create_vectorizer(images, "photos", template="{title}!", model="fake-8", target="of_title", name="titles")
    pgsbert.create_vectorizer(images, "photos", ["image"], model="fake-8")
    insert(images, 1, b"a cat")
    for name in ("photos", "titles"):
        pgsbert.wait_until_synced(images, name)
    [(of_image, of_title)] = rows(images, "select embedding::real[], of_title::real[] from photos")
    assert np.allclose([of_image, of_title], expected(b"a cat", b"a title!"), atol=1e-6)


def test_a_column_that_becomes_bytea_breaks_the_vectorizer_until_it_is_text_again(images: Connection) -> None:
    images.execute("create table photos (id int primary key, title text)")
    pgsbert.create_vectorizer(images, "photos", ["title"], model="fake-384", storage="table")
    images.execute("alter table photos alter title type bytea using convert_to(title, 'utf8')")
    images.execute("insert into photos values (1, 'a cat')")
    images.execute("select pgsbert.judge_vectorizers()")
    [(state, reason)] = rows(images, "select state, reason from pgsbert.status")
    assert state == "broken"
    assert (
        reason == 'column "title" of public.photos is bytea: an image is embedded alone, by a model that takes images'
    )
    images.execute("alter table photos alter title type text using convert_from(title, 'utf8')")
    images.execute("select pgsbert.judge_vectorizers()")
    assert rows(images, "select state from pgsbert.status") == ["filling"]


@pytest.mark.parametrize("kind", KINDS)
def test_images_the_model_refuses_are_failures_at_once_and_their_neighbours_are_stored(
    image_worker: RunningWorker, images: Connection, kind: str
) -> None:
    vectors = create(images, kind)
    for id_ in range(10):
        insert(images, id_, b"fake:refuse" if id_ in (3, 7) else b"image %d" % id_)
    synced(images)
    found = rows(images, "select key, attempts, error_class from pgsbert.failures order by key")
    assert found == [(["3"], 1, "ValueError"), (["7"], 1, "ValueError")]
    assert are_of(rows(images, vectors), {id_: None if id_ in (3, 7) else b"image %d" % id_ for id_ in range(10)})


class Broken(FakeEncoder):
    """A model whose libraries are: it can read no image at all."""

    def encode_images(self, images: Sequence[bytes], /) -> Vectors:
        self.calls += 1
        raise ValueError("no decoder is there")


def test_a_model_that_fails_on_every_image_fails_no_row(images: Connection, database: Database) -> None:
    create(images)
    encoder = Broken(8)
    with run_worker(database.dsn, encoder=encoder):
        insert(images, 1, b"a cat")
        # the batch, the image that every model reads, and the same after a rest
        wait_until(lambda: encoder.calls >= 4)
    assert rows(images, "select count(*) from pgsbert.failures") == [0]
    assert rows(images, "select k1 from pgsbert.pending_1") == [1]


@pytest.mark.usefixtures("image_worker")
def test_an_image_that_is_too_large_is_a_failure_and_is_never_read(images: Connection) -> None:
    create(images)
    insert(images, 1, b"a cat")
    # PostgreSQL knows its size without fetching it; what is stored of it compresses to little
    images.execute("insert into photos (id, image) values (2, decode(repeat('00', 32 * 1024 * 1024 + 1), 'hex'))")
    insert(images, 3, b"a dog")
    synced(images)
    [(key, attempts, error_class, error)] = rows(
        images, "select key, attempts, error_class, error from pgsbert.failures"
    )
    assert (key, attempts, error_class) == (["2"], 1, "ProgramLimitExceeded")
    assert error == "the image has 33554433 bytes: at most 33554432 are embedded"
    assert rows(images, "select id from photos where embedding is not null order by id") == [1, 3]
    images.execute("update photos set image = 'a small one' where id = 2")
    synced(images)
    assert rows(images, "select count(*) from pgsbert.failures") == [0]


async def test_a_claim_holds_images_of_eight_mebibytes_and_one_more_at_most(
    images: Connection, open_queue: OpenQueue
) -> None:
    create(images)
    images.execute(
        "insert into photos (id, image) select i, decode(repeat(lpad(to_hex(i), 2, '0'), %s), 'hex')"
        " from generate_series(1, 30) as i",
        [3 * MEBIBYTE],
    )
    queue = await open_queue("photos")
    seen: list[bytes] = []
    while claimed := await queue.claim(64):
        assert sum(len(change.text) for change in claimed) <= queues.TEXTS_AT_ONCE + 3 * MEBIBYTE
        seen += [change.text[:1] for change in claimed if isinstance(change.text, bytes)]
        done = [Embedded(change.revision, np.zeros(8, dtype=np.float32)) for change in claimed]
        assert len(await queue.settle(done)) == len(claimed)
    assert sorted(seen) == [bytes([i]) for i in range(1, 31)]


HOSTILE = [
    bytes(range(256)),
    b"'); drop table pgsbert.model; --",
    b"\\'\"{},NULL",
    b"{NULL}",
    b"\\x00",
    b"%s %(data)s {placeholder}",
    bytes(range(256)) * 40,
]


@pytest.mark.usefixtures("image_worker")
@pytest.mark.parametrize("standard", ["on", "off"])
def test_any_bytes_arrive_at_the_model_as_they_are(images: Connection, standard: str) -> None:
    images.execute(f"set standard_conforming_strings = {standard}")
    for image in HOSTILE:
        [vector] = rows(images, "select pgsbert.embed_image(%b, 'fake-8')::real[]", image)
        assert np.allclose(vector, expected(image)[0], atol=1e-6)
        assert np.allclose(pgsbert.embed_image(images, image, model="fake-8"), vector)
    assert rows(images, "select count(*) from pgsbert.model") != [0]


@pytest.mark.usefixtures("image_worker")
def test_a_question_may_carry_an_image_of_many_mebibytes(images: Connection) -> None:
    image = b"a red bicycle " * (15 * MEBIBYTE // 14)
    assert pgsbert.embed_image(images, image, model="fake-8").shape == (8,)
    assert rows(images, "select count(*) from pgsbert.request") == [0]


ASKED = {
    "null": ("null", "fake-8", None, ""),
    "empty": ("''", "fake-8", "PB007", "an empty image has no embedding"),
    "too large": (
        "decode(repeat('00', 16 * 1024 * 1024 + 1), 'hex')",
        "fake-8",
        "PB007",
        "has 16777217 bytes: a question takes at most 16777216",
    ),
    "text only": ("'a cat'", "fake-384", "PB004", '"fake-384" takes text only'),
    "cross-encoder": ("'a cat'", "fake-reranker", "PB004", "to embed, a bi-encoder is needed"),
    "unknown": ("'a cat'", "fake-9", "PB003", 'no model is registered as "fake-9"'),
    "refused": ("'fake:refuse'", "fake-8", "PB009", "fake:refuse was in a text"),
}


@pytest.mark.usefixtures("image_worker")
@pytest.mark.parametrize("case", ASKED)
def test_a_question_that_cannot_be_answered_says_why(images: Connection, case: str) -> None:
    image, model, sqlstate, message = ASKED[case]
    query = f"select pgsbert.embed_image({image}, %s)"
    if sqlstate is None:
        assert rows(images, query, model) == [None]
        return
    with pytest.raises(psycopg.Error, match=message) as refused:
        images.execute(query, [model])
    assert refused.value.sqlstate == sqlstate


def test_an_image_is_asked_for_once_in_a_transaction(image_worker: RunningWorker, images: Connection) -> None:
    with images.transaction():
        query = "select count(distinct pgsbert.embed_image(%b, 'fake-8')::text) from generate_series(1, 20)"
        assert rows(images, query, b"a cat") == [1]
        assert image_worker.encoder.calls == 1
        # neither another image nor a text of the same letters is taken for it
        assert rows(images, query, b"a dog") == [1]
        assert image_worker.encoder.calls == 2


async def test_questions_are_claimed_without_their_images(images: Connection, database: Database) -> None:
    # nobody answers: what is put stays
    images.execute("insert into pgsbert.worker (host, pid, version) values ('here', 1, '0')")
    for number in range(3):
        digits = base64.b64encode(b"image %d" % number).decode()
        # a statement without parameters, as the gateway sends it
        images.execute(f"select pgsbert.put('embed_image', 'fake-8', null, '{{{digits}}}', '1 min')")
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as opened:
        requests = Requests(opened, worker=7, type_schema="public", kinds=["embed"])
        claimed = await requests.claim()
        assert [(one.kind, one.texts, one.has_images) for one in claimed] == [("embed", [], True)] * 3
        assert [await requests.images(one) for one in claimed] == [[b"image %d" % number] for number in range(3)]
        await opened.execute("delete from pgsbert.request")
        assert await requests.images(claimed[0]) == []


@pytest.mark.usefixtures("image_worker")
def test_models_say_what_they_take(images: Connection) -> None:
    found = dict(rows(images, "select name, modalities from pgsbert.models"))
    assert found["fake-8"] == ["text", "image"]
    assert found["fake-384"] == found["fake-reranker"] == ["text"]
    images.execute("select pgsbert.embed_image('a cat', 'fake-8')")
    wait_until(lambda: rows(images, "select workers from pgsbert.models where name = 'fake-8'") != [{}])
