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

alter table pgsbert.vectorizer
    add column on_truncate text not null default 'accept',
    add constraint vectorizer_on_truncate_known check (on_truncate in ('accept', 'refuse'));
comment on column pgsbert.vectorizer.on_truncate is 'What happens to a text with more tokens than the model takes: its beginning is embedded, or its row fails';
-- Which rows of the vectorizers that are there were truncated is known when they are embedded anew.
do $$
declare
    v record;
begin
    for v in select id, source::text as source from pgsbert.vectorizer loop
        execute (
            select pg_catalog.format(
                'create table pgsbert.truncated_%1$s as select %2$s, null::integer as tokens from pgsbert.pending_%1$s with no data',
                v.id, pg_catalog.string_agg(a.attname, ', ' order by a.attnum)
            ) || pg_catalog.format(
                '; alter table pgsbert.truncated_%1$s alter column tokens set not null, add constraint truncated_%1$s_pkey primary key (%2$s)',
                v.id, pg_catalog.string_agg(a.attname, ', ' order by a.attnum)
            )
            from pg_catalog.pg_attribute as a
            where a.attrelid = pg_catalog.format('pgsbert.pending_%s', v.id)::regclass and a.attname ~ '^k[0-9]+$' and not a.attisdropped
        );
        execute pg_catalog.format('comment on table pgsbert.truncated_%s is %L', v.id, 'Rows of ' || v.source || ' whose texts have more tokens than the model takes');
    end loop;
end;
$$;
