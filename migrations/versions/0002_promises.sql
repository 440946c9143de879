alter table pgsbert.vectorizer
    add column template text,
    add column row_triggers boolean not null default false,
    add column swept_at timestamptz;
comment on column pgsbert.vectorizer.template is 'How the text is made of the tracked columns, {column} by {column}; null: one a line';
comment on column pgsbert.vectorizer.row_triggers is 'Changes are found row by row: partitions, and tables that a subscription writes';
comment on column pgsbert.vectorizer.swept_at is 'when the last walk that looks for rows no trigger saw has ended';
comment on column pgsbert.vectorizer.column_numbers is 'attnums, so that a rename changes nothing; the names are those a worker saw last, for a restore';
