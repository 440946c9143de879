alter table pgsbert.worker add column serves text[] not null default '{rows,embed,rerank}';
comment on column pgsbert.worker.serves is 'What it does: rows (embeds new and changed ones), embed and rerank (answers such questions)';

alter table pgsbert.model add column labels text[];
comment on column pgsbert.model.labels is 'What a classifier calls its classes, in the order of its output';
alter table pgsbert.model drop constraint model_kind_known;
alter table pgsbert.model add constraint model_kind_known check (kind in ('bi-encoder', 'cross-encoder', 'classifier'));
alter table pgsbert.model add constraint model_labels_fit_kind check ((kind = 'classifier') = (labels is not null));
alter table pgsbert.request drop constraint request_kind_known;
alter table pgsbert.request add constraint request_kind_known check (kind in ('embed', 'rerank', 'classify'));

alter table pgsbert.model add column modalities text[] not null default '{text}';
comment on column pgsbert.model.modalities is 'What it embeds in one space: text, and perhaps image';
alter table pgsbert.model add constraint model_modalities_known check (modalities <@ '{text,image}' and 'text' = any (modalities));
alter table pgsbert.request add column images bytea[];
comment on column pgsbert.request.images is 'Images to embed; null where there are texts';
