alter table pgsbert.vectorizer
    add column template text,
    add column row_triggers boolean not null default false,
    add column swept_at timestamptz,
    add column partitions regclass[] not null default '{}',
    add column attached regclass[] not null default '{}';
comment on column pgsbert.vectorizer.template is 'How the text is made of the tracked columns: {1} is the first of them; null: one a line';
comment on column pgsbert.vectorizer.row_triggers is 'Changes are found row by row: partitions, and tables that a subscription writes';
comment on column pgsbert.vectorizer.swept_at is 'when the last walk that looks for rows no trigger saw has ended';
comment on column pgsbert.vectorizer.partitions is 'the partitions with rows whose vectors are known to be theirs; another one was attached since';
comment on column pgsbert.vectorizer.attached is 'the partitions that the sweep under way embeds anew';
-- From here on the position of a walk lasts as long as the walk: a sweep begins where there is none.
do $$
declare
    walked integer;
begin
    for walked in select id from pgsbert.vectorizer where filled_at is not null loop
        execute pg_catalog.format('delete from pgsbert.fill_%s', walked);
    end loop;
end;
$$;

alter table pgsbert.worker
    add column listening boolean not null default false,
    add column poll_only boolean not null default false;
comment on column pgsbert.worker.poll_only is 'It holds no lock and does not listen: only its heartbeat tells that it lives';
comment on column pgsbert.vectorizer.column_numbers is 'attnums, so that a rename changes nothing; the names are those a worker saw last, for a restore';

-- how many rows each first fill has passed
do $$
declare
    vectorizer_id integer;
begin
    for vectorizer_id in select id from pgsbert.vectorizer loop
        execute format('alter table pgsbert.fill_%s add column passed bigint not null default 0', vectorizer_id);
    end loop;
end;
$$;
