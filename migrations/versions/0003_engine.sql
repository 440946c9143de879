alter table pgsbert.worker add column serves text[] not null default '{rows,embed,rerank}';
comment on column pgsbert.worker.serves is 'What it does: rows (embeds new and changed ones), embed and rerank (answers such questions)';
