-- The tables of schema pgsbert as they are now. Migrations lead here: a test upgrades an empty database, loads this
-- file into another and compares the two. Run with psql: \set vector_schema public

create schema if not exists pgsbert;
comment on schema pgsbert is 'SBERT embeddings kept true, and semantic search: https://www.sbert.net, https://github.com/pgvector/pgvector';

create table pgsbert.model (
    name text not null,
    kind text not null,
    revision text,
    hash text,
    dimensions integer,
    max_tokens integer,
    similarity text,
    query_prompt text not null default '',
    document_prompt text not null default '',
    is_default boolean not null default false,
    registered_at timestamptz not null default now(),
    labels text[],
    modalities text[] not null default '{text}',
    constraint model_pkey primary key (name),
    constraint model_kind_known check (kind in ('bi-encoder', 'cross-encoder', 'classifier')),
    constraint model_dimensions_fit_kind check ((kind = 'bi-encoder') = (dimensions is not null)),
    constraint model_dimensions_positive check (dimensions between 1 and 16000),
    constraint model_labels_fit_kind check ((kind = 'classifier') = (labels is not null)),
    constraint model_modalities_known check (modalities <@ '{text,image}' and 'text' = any (modalities))
);
comment on table pgsbert.model is 'Registered models: what they are called and what they return, never where their files lie';
comment on column pgsbert.model.labels is 'What a classifier calls its classes, in the order of its output';
comment on column pgsbert.model.modalities is 'What it embeds in one space: text, and perhaps image';
create unique index model_default_unique on pgsbert.model (kind) where is_default;

create table pgsbert.vectorizer (
    id integer generated always as identity,
    name text not null,
    source regclass not null,
    column_names name[] not null,
    column_numbers smallint[] not null,
    key_names name[] not null,
    key_numbers smallint[] not null,
    model text not null,
    storage text not null,
    target name not null,
    target_number smallint,
    side regclass,
    distance text not null,
    index_method text not null,
    on_change text not null,
    paused boolean not null default false,
    broken_reason text,
    filled_at timestamptz,
    index_error text,
    stamp text not null,
    created_at timestamptz not null default now(),
    template text,
    row_triggers boolean not null default false,
    swept_at timestamptz,
    partitions regclass[] not null default '{}',
    attached regclass[] not null default '{}',
    on_truncate text not null default 'accept',
    constraint vectorizer_pkey primary key (id),
    constraint vectorizer_name_unique unique (name),
    constraint vectorizer_model_registered foreign key (model) references pgsbert.model (name),
    constraint vectorizer_storage_known check (storage in ('column', 'table')),
    constraint vectorizer_distance_known check (distance in ('cosine', 'l2', 'inner_product')),
    constraint vectorizer_index_known check (index_method in ('hnsw', 'none')),
    constraint vectorizer_on_change_known check (on_change in ('keep', 'clear')),
    constraint vectorizer_on_truncate_known check (on_truncate in ('accept', 'refuse'))
);
comment on table pgsbert.vectorizer is 'What is embedded: a source table, its tracked columns, its key, and where the vector goes';
comment on column pgsbert.vectorizer.column_numbers is 'attnums, so that a rename changes nothing; the names are those a worker saw last, for a restore';
comment on column pgsbert.vectorizer.stamp is 'the database and table that the attnums belong to';
comment on column pgsbert.vectorizer.filled_at is 'when the walk over the existing rows ended; null while it goes on';
comment on column pgsbert.vectorizer.template is 'How the text is made of the tracked columns: {1} is the first of them; null: one a line';
comment on column pgsbert.vectorizer.row_triggers is 'Changes are found row by row: partitions, and tables that a subscription writes';
comment on column pgsbert.vectorizer.swept_at is 'when the last walk that looks for rows no trigger saw has ended';
comment on column pgsbert.vectorizer.partitions is 'the partitions with rows whose vectors are known to be theirs; another one was attached since';
comment on column pgsbert.vectorizer.attached is 'the partitions that the sweep under way embeds anew';
comment on column pgsbert.vectorizer.on_truncate is 'What happens to a text with more tokens than the model takes: its beginning is embedded, or its row fails';

-- One sequence for all queues: a row deleted and inserted again must not look unchanged.
create sequence pgsbert.revision;
comment on sequence pgsbert.revision is 'Numbers every change of a tracked text; a vector is stored only for the number it was made from';

create table pgsbert.worker (
    id integer generated always as identity,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    host text not null,
    pid integer not null,
    version text not null,
    models jsonb not null default '{}',
    rates jsonb not null default '{}',
    listening boolean not null default false,
    poll_only boolean not null default false,
    serves text[] not null default '{rows,embed,rerank}',
    constraint worker_pkey primary key (id)
);
comment on table pgsbert.worker is 'Workers that are running, with their heartbeat, the models they found and their rows a second';
comment on column pgsbert.worker.poll_only is 'It holds no lock and does not listen: only its heartbeat tells that it lives';
comment on column pgsbert.worker.serves is 'What it does: rows (embeds new and changed ones), embed and rerank (answers such questions)';

-- Unlogged: a question that was open at a crash is asked again by nobody.
create unlogged table pgsbert.request (
    id bigint generated always as identity,
    token uuid not null default gen_random_uuid(),
    kind text not null,
    model text not null,
    query text,
    texts text[] not null,
    deadline timestamptz not null,
    worker integer,
    done boolean not null default false,
    vectors :"vector_schema".vector[],
    scores real[],
    error_code text,
    error text,
    images bytea[],
    constraint request_pkey primary key (id),
    constraint request_token_unique unique (token),
    constraint request_kind_known check (kind in ('embed', 'rerank', 'classify'))
);
comment on table pgsbert.request is 'Questions from SQL to a model, and their replies until they are fetched';
comment on column pgsbert.request.images is 'Images to embed; null where there are texts';
create index request_unclaimed on pgsbert.request (id) where worker is null;
