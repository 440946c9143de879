alter table pgsbert.vectorizer
    add column template text,
    add column row_triggers boolean not null default false,
    add column swept_at timestamptz;
comment on column pgsbert.vectorizer.template is 'How the text is made of the tracked columns: {1} is the first of them; null: one a line';
comment on column pgsbert.vectorizer.row_triggers is 'Changes are found row by row: partitions, and tables that a subscription writes';
comment on column pgsbert.vectorizer.swept_at is 'when the last walk that looks for rows no trigger saw has ended';

-- What is made anew with other arguments does not take the place of what was there. Grants come back with grants.sql.
drop function if exists pgsbert.create_vectorizer(regclass, text[], text, text, text, text, text, text, text, boolean);
drop function if exists pgsbert.register_vectorizer(regclass, text[], text, text, text, text, text, text, text);

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
