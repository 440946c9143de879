-- All vectors of a vectorizer at once, for what is not a search: clusters, duplicates, an export.

create or replace function pgsbert.vectors_sql(vectorizer_id integer) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    key text;
    vector text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    perform pgsbert.check_searchable(v, false);
    select string_agg(format('s.%I::text', k.name), ', ' order by k.place) into key
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k;
    if key is null then
        raise exception using errcode = 'PB008',
            message = format('vectorizer "%s" is broken: %s has no unique key over NOT NULL columns any more', v.name, v.source);
    end if;
    vector := format('%s.%I', case when v.storage = 'table' then 't' else 's' end, pgsbert.target_name(v));
    return format('select array[%s], %s from %s where %2$s is not null', key, vector, pgsbert.vector_relation(v));
end;
$$;
comment on function pgsbert.vectors_sql(integer) is 'The keys and vectors of a vectorizer';

create or replace function pgsbert.vectors(vectorizer text) returns table (key text[], embedding :"vector_schema".vector)
language plpgsql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    return query execute pgsbert.vectors_sql((pgsbert.find_vectorizer(vectorizer)).id);
end;
$$;
comment on function pgsbert.vectors(text) is 'Key and vector of each row that has one, in no order; each column of the key as text, which similar_to takes';
