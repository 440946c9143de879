"""Write a dump of this version's installation in use, which every later version must be able to upgrade.

Run it once a release, at the release, and keep what it prints as ``tests/db/released/VERSION.sql``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from pgsbert import embedded, schema

TABLES = """
create role released_operator nologin;
select pgsbert.grant_usage('released_operator', 'operator');
insert into pgsbert.model (name, kind, dimensions, max_tokens) values ('fake-8', 'bi-encoder', 8, 256);
create table article (gone int, id int primary key, title text, body text);
alter table article drop column gone;
select pgsbert.create_vectorizer('article', '{title,body}', model => 'fake-8', on_change => 'clear');
insert into article values (1, 'cats', 'purr'), (2, 'dogs', 'bark'), (3, 'fake:raise', 'fails'), (4, 'birds', null);
insert into article values (5, '', null);
create table page (lang text, nr int, body text, primary key (nr, lang));
select pgsbert.create_vectorizer('page', '{body}', model => 'fake-8', storage => 'table');
insert into page values ('en', 1, 'one'), ('de', 1, 'eins'), ('en', 2, 'two');
create table quiet (id int primary key, body text);
select pgsbert.create_vectorizer('quiet', '{body}', model => 'fake-8', index => 'none');
insert into quiet values (1, 'nothing stirs');
select pgsbert.pause_vectorizer('quiet');
"""

AFTERWARDS = """
insert into article values (6, 'pending', 'at the release');
update article set title = 'hounds' where id = 2;
update page set body = 'uno' where nr = 1 and lang = 'en';
delete from page where nr = 2;
"""


def main() -> None:
    """Install, embed, leave some work, dump."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with embedded.start(Path(folder) / "postgres") as server:
            embedded.create_database(server, "released")
            dsn = server.dsn("released")
            schema.install(dsn)
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(TABLES)
                worker = [sys.executable, "-m", "pgsbert", "worker", "--dsn", dsn, "--drain", "--allow-fake"]
                subprocess.run(worker, check=True)
                connection.execute(AFTERWARDS)
            text = subprocess.run([server.programs / "pg_dump", dsn], check=True, capture_output=True, text=True).stdout
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
