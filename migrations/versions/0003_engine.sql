alter table pgsbert.worker add column serves text[] not null default '{rows,embed,rerank}';
comment on column pgsbert.worker.serves is 'What it does: rows (embeds new and changed ones), embed and rerank (answers such questions)';

alter table pgsbert.model add column modalities text[] not null default '{text}';
comment on column pgsbert.model.modalities is 'What it embeds in one space: text, and perhaps image';
alter table pgsbert.model add constraint model_modalities_known check (modalities <@ '{text,image}' and 'text' = any (modalities));
alter table pgsbert.request add column images bytea[];
comment on column pgsbert.request.images is 'Images to embed; null where there are texts';
