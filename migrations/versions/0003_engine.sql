alter table pgsbert.worker add column serves text[] not null default '{rows,embed,rerank}';
comment on column pgsbert.worker.serves is 'What it does: rows (embeds new and changed ones), embed and rerank (answers such questions)';

alter table pgsbert.model add column labels text[];
comment on column pgsbert.model.labels is 'What a classifier calls its classes, in the order of its output';
alter table pgsbert.model drop constraint model_kind_known;
alter table pgsbert.model add constraint model_kind_known check (kind in ('bi-encoder', 'cross-encoder', 'classifier'));
alter table pgsbert.model add constraint model_labels_fit_kind check ((kind = 'classifier') = (labels is not null));
alter table pgsbert.request drop constraint request_kind_known;
alter table pgsbert.request add constraint request_kind_known check (kind in ('embed', 'rerank', 'classify'));
