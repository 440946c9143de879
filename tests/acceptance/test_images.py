"""Photographs in a table, a real worker process, a CLIP model: what a user sees, from model add to failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

import pgsbert
from tests.support import rows, worker_process

if TYPE_CHECKING:
    from tests.support import Database

    Connection = psycopg.Connection[Any]

pytest.importorskip("sentence_transformers")

from sentence_transformers import SentenceTransformer

from tests import clip
from tests.models.test_images import png

BAD = {
    101: (b"a text", "it must be a JPEG, PNG or WebP"),
    102: (clip.encoded(clip.picture(1), "JPEG")[:400], "The image is damaged"),
    103: (png(60_000, 60_000), "more pixels than the 67108864 that are read"),
    104: (clip.encoded(clip.picture(1), "GIF"), "it must be a JPEG, PNG or WebP"),
}


def run(*arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("pgsbert")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_photographs_are_embedded_found_and_refused(connection: Connection, database: Database, tmp_path: Path) -> None:
    folder = clip.make(tmp_path / "clip", "hub")
    assert f": bi-encoder, {clip.DIMENSIONS} dimensions" in run("model", "add", str(folder), "--dsn", database.dsn)
    files = list(clip.files().items())
    connection.execute("create table photos (id int primary key, name text, image bytea)")
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into photos values (%s, %s, %b)",
            [(id_, name, content) for id_, (name, content) in enumerate(files)],
        )
    pgsbert.create_vectorizer(connection, "photos", ["image"], model=str(folder), index="none")
    connection.execute("set pgsbert.timeout = '60s'")
    with worker_process(database.dsn, "--threads", "1"):
        for id_, (content, _) in BAD.items():
            connection.execute("insert into photos values (%s, 'bad', %b)", [id_, content])
        connection.execute("insert into photos values (105, 'empty', ''), (106, 'none', null)")
        connection.execute("call pgsbert.wait_until_synced('photos', '2 min')")
        nearest = (
            "select (select near.id from photos as near where near.embedding is not null order by near.embedding <=>"
            f" (select pgsbert.embed_image(p.image, '{folder}')) limit 1) from photos as p where id < 100 order by id"
        )
        assert rows(connection, nearest) == list(range(50))
        found = rows(connection, "select (item).id from photos_search('a red bicycle', k => 5)")
        texts = np.array(rows(connection, "select pgsbert.embed('a red bicycle', %s)::real[]", str(folder)))
        with pytest.raises(psycopg.Error, match="it must be a JPEG, PNG or WebP") as refused:
            pgsbert.embed_image(connection, b"a text", model=str(folder))
        assert refused.value.sqlstate == "PB007"
        [model] = [
            m for m in json.loads(run("model", "list", "--json", "--dsn", database.dsn)) if m["name"] == str(folder)
        ]
    assert model["modalities"] == ["text", "image"]
    assert list(model["workers"].values()) == [
        f"present (torch: {folder} takes images, and runs on torch alone (pgsbert[worker]).)"
    ]

    network = SentenceTransformer(str(folder), device="cpu")
    paths = [tmp_path / name for name, _ in files]
    for path, (_, content) in zip(paths, files, strict=True):
        path.write_bytes(content)
    expected = network.encode([str(path) for path in paths], show_progress_bar=False)
    stored = np.array(rows(connection, "select embedding::real[] from photos where id < 100 order by id"))
    assert np.abs(stored - expected).max() <= 1e-5
    assert np.abs(texts - network.encode(["a red bicycle"], show_progress_bar=False)).max() <= 1e-5
    cosine = expected @ texts[0] / np.linalg.norm(expected, axis=1)
    assert found == np.argsort(-cosine)[:5].tolist()

    failures = rows(connection, "select key[1]::int, attempts, error_class, error from pgsbert.failures order by 1")
    assert [(id_, attempts, error_class) for id_, attempts, error_class, _ in failures] == [
        (id_, 1, "ImageError") for id_ in BAD
    ]
    assert all(message in error for (_, message), (*_, error) in zip(BAD.values(), failures, strict=True))
    assert rows(connection, "select id from photos where embedding is null order by id") == [*BAD, 105, 106]
