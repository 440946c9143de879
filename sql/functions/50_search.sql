-- Search by meaning. Everything here runs as the caller, so that grants and row-level security of the table hold.
-- Statements are made for the names the table has at that moment; operators are qualified, for vector may live anywhere.

create or replace function pgsbert.check_searchable(v pgsbert.vectorizer, rerank boolean) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    reason text := case
        when v.id is null then 'its function was restored without its data'
        when not exists (select from pg_class where oid = v.source) then format('the table of "%s" was dropped', v.name)
        when v.storage = 'table' and not exists (select from pg_class where oid = v.side) then format('its table %s was dropped', v.side)
        when pgsbert.target_name(v) is null then 'the column with its vectors was dropped'
        when v.storage = 'table' and pgsbert.side_match(v, 's', 't') is null then
            format('%s has no unique key over NOT NULL columns (%s) any more', v.source, array_to_string(v.key_names, ', '))
        when rerank then
            (select format('column "%s" of %s was dropped', gone, v.source) from pgsbert.missing_column(v) as gone where gone is not null)
    end;
begin
    if reason is not null then
        raise exception using errcode = 'PB008', message = format('vectorizer "%s" is broken: %s', coalesce(v.name, 'NULL'), reason);
    end if;
end;
$$;
comment on function pgsbert.check_searchable(pgsbert.vectorizer, boolean) is 'Raises PB008 where a table or column that a search needs was dropped';

create or replace function pgsbert.check_texts(v pgsbert.vectorizer) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if pgsbert.image_column(v.source, v.column_numbers) is not null then
        raise exception using errcode = 'PB007',
            message = format('the rows of "%s" are images: a cross-encoder reads texts', v.name),
            hint = 'Search without rerank.';
    end if;
end;
$$;
comment on function pgsbert.check_texts(pgsbert.vectorizer) is 'Raises PB007 for a vectorizer of images, where a cross-encoder is to read its rows';

create or replace function pgsbert.search_sql(vectorizer_id integer, item text, rerank boolean) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    distance text;
    nearest text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    perform pgsbert.check_searchable(v, rerank);
    if rerank then
        perform pgsbert.check_texts(v);
    end if;
    if item = 'jsonb' then
        item := pgsbert.item_expression(v);
    else
        -- not "s": a column may be called that
        item := format('s.*::%s', v.source);
    end if;
    distance := pgsbert.distance_expression(v, '$1');
    -- This runs in the search_path of the caller, who may trust it less than we do: what is not an exact match of
    -- pg_catalog is qualified.
    -- the operator alone in ORDER BY, ascending: anything around it, and no index serves; outside, "+ 0" makes
    -- PostgreSQL sort the few rows found, for the index orders by a distance that differs in the last bits
    nearest := format(
        'select %s as item, %s::float8 as distance, %s as document from %s where %s is not null order by %s limit',
        item, distance, case when rerank then pgsbert.document_expression(v, 's') else 'null::text' end,
        pgsbert.vector_relation(v),
        format('%s.%I', case when v.storage = 'table' then 't' else 's' end, pgsbert.target_name(v)),
        distance
    );
    if not rerank then
        return format('select item, distance, 1 operator(pg_catalog.-) distance from (%s $3) as nearest order by distance operator(pg_catalog.+) 0', nearest);
    end if;
    return format(
        'with candidate as materialized ('
        'select nearest.*, row_number() over (order by distance operator(pg_catalog.+) 0) as ordinal from (%s greatest($3, $4)) as nearest'
        ') select c.item, c.distance, r.score from candidate as c '
        'join pgsbert.rerank($2, array(select document from candidate order by ordinal)) as r using (ordinal) '
        'order by r.score desc, c.ordinal limit $3',
        nearest
    );
end;
$$;
comment on function pgsbert.search_sql(integer, text, boolean) is 'The search of a vectorizer: $1 embedding, $2 query, $3 k, $4 candidates';

create or replace function pgsbert.check_search(query text, k integer, rerank boolean, candidates integer) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if query is null or query = '' then
        raise exception using errcode = 'PB007', message = 'the query is empty';
    elsif k is null or k < 1 or candidates is null or candidates < 1 then
        raise exception using errcode = 'PB007',
            message = format('k and candidates must be at least 1, not %s and %s', coalesce(k::text, 'NULL'), coalesce(candidates::text, 'NULL'));
    elsif rerank is null then
        raise exception using errcode = 'PB007', message = 'rerank must be true or false, not NULL';
    elsif rerank then
        -- before the model is asked for an embedding, and also where nothing is found
        perform pgsbert.check_reranker(null);
    end if;
end;
$$;
comment on function pgsbert.check_search(text, integer, boolean, integer) is 'Raises PB007 for arguments that cannot find anything';

create or replace function pgsbert.widen_scan(wanted integer, out ef_search text, out iterative_scan text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- loads the library, so that its settings are there
    perform cast('[0]' as :"vector_schema".vector);
    -- An HNSW scan ends after ef_search rows, 40 unless told; where a filter or row security removes some, it must go
    -- on. What was set before is returned, for narrow_scan.
    ef_search := current_setting('hnsw.ef_search');
    iterative_scan := current_setting('hnsw.iterative_scan');
    if wanted > ef_search::int then
        perform set_config('hnsw.ef_search', least(wanted, 1000)::text, true);
    end if;
    if iterative_scan = 'off' then
        perform set_config('hnsw.iterative_scan', 'strict_order', true);
    end if;
end;
$$;
comment on function pgsbert.widen_scan(integer) is 'Lets an HNSW scan return as many rows as wanted, filters or not; returns the settings it found';

create or replace function pgsbert.narrow_scan(ef_search text, iterative_scan text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('hnsw.ef_search', ef_search, true), set_config('hnsw.iterative_scan', iterative_scan, true);
end;
$$;
comment on function pgsbert.narrow_scan(text, text) is 'Puts back what widen_scan found';

create or replace function pgsbert.document(vectorizer text, item anyelement) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.find_vectorizer(vectorizer);
    content text;
begin
    if pg_typeof(item) is distinct from (select c.reltype::regtype from pg_class as c where c.oid = v.source) then
        raise exception using errcode = 'PB007',
            message = format('item is %s, and "%s" embeds rows of %s', pg_typeof(item), v.name, v.source),
            hint = format('Pass the row itself: select pgsbert.document(%L, t) from %s as t', v.name, v.source);
    end if;
    perform pgsbert.check_texts(v);
    execute format('select %s from (select ($1).*) as s', pgsbert.document_expression(v, 's')) into content using item;
    return content;
end;
$$;
comment on function pgsbert.document(text, anyelement) is 'The text of a row as a vectorizer embeds it, for rerank';

create or replace function pgsbert.embed_for(vectorizer text, content text) returns :"vector_schema".vector
language sql stable parallel restricted
return pgsbert.embed(content, (pgsbert.find_vectorizer(vectorizer)).model);
comment on function pgsbert.embed_for(text, text) is 'The embedding of a query by the model of a vectorizer';

create or replace function pgsbert.search(
    vectorizer text, query text, k integer default 10, rerank boolean default false, candidates integer default 50
) returns table (item jsonb, distance double precision, score double precision)
language plpgsql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer := pgsbert.find_vectorizer(vectorizer);
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(v.id, 'jsonb', rerank) using pgsbert.embed(query, v.model), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;
comment on function pgsbert.search(text, text, integer, boolean, integer) is 'The rows nearest in meaning to a query, as jsonb, by the name of the vectorizer';

create or replace function pgsbert.similar_sql(vectorizer_id integer) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    row_key text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    perform pgsbert.check_searchable(v, false);
    select string_agg(format('s.%I %s $1[%s]::%s', k.name, k.operator, k.place, pgsbert.column_type(v.source, k.number)), ' and ' order by k.place)
    into row_key
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k;
    if row_key is null then
        raise exception using errcode = 'PB008',
            message = format('vectorizer "%s" is broken: %s has no unique key over NOT NULL columns any more', v.name, v.source);
    end if;
    return format(
        'with origin as materialized (select %1$s as embedding from %2$s where %3$s) '
        'select item, distance, 1 operator(pg_catalog.-) distance from ('
        'select %4$s as item, (%5$s)::float8 as distance from %2$s '
        -- a row without a vector is near to none; an index would return rows all the same
        'where (select embedding from origin) is not null and not (%3$s) and %1$s is not null order by %5$s limit $2'
        ') as nearest order by distance operator(pg_catalog.+) 0',
        format('%s.%I', case when v.storage = 'table' then 't' else 's' end, pgsbert.target_name(v)),
        pgsbert.vector_relation(v),
        row_key,
        pgsbert.item_expression(v),
        pgsbert.distance_expression(v, '(select embedding from origin)')
    );
end;
$$;
comment on function pgsbert.similar_sql(integer) is 'The rows nearest to one row of a vectorizer: $1 its key as text[], $2 k';

create or replace function pgsbert.similar_to(vectorizer text, key text[], k integer default 10)
returns table (item jsonb, distance double precision, score double precision)
language plpgsql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.find_vectorizer(vectorizer);
    found_settings record;
begin
    if coalesce(cardinality(key), 0) <> cardinality(v.key_numbers) then
        raise exception using errcode = 'PB007',
            message = format('the key of "%s" has %s column(s): %s', v.name, cardinality(v.key_numbers), array_to_string(v.key_names, ', ')),
            hint = 'Give one text for each, in that order.';
    elsif k is null or k < 1 then
        raise exception using errcode = 'PB007', message = format('k must be at least 1, not %s', coalesce(k::text, 'NULL'));
    end if;
    found_settings := pgsbert.widen_scan(least(k, 1000) + 1);
    return query execute pgsbert.similar_sql(v.id) using key, k;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;
comment on function pgsbert.similar_to(text, text[], integer) is 'The rows nearest in meaning to the row of that key, as jsonb; none if it has no vector';

create or replace function pgsbert.similarity(a text, b text, model text default null) returns double precision
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $$
declare
    vectors :"vector_schema".vector[];
begin
    if a is null or b is null then
        return null;
    end if;
    vectors := pgsbert.embed(array[a, b], model);
    return 1 - (vectors[1] operator(:"vector_schema".<=>) vectors[2]);
end;
$$;
comment on function pgsbert.similarity(text, text, text) is 'Cosine of the embeddings of two texts, from -1 to 1';

create or replace function pgsbert.check_reranker(model text) returns void
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgsbert.model_for('rerank', model);
end;
$$;
comment on function pgsbert.check_reranker(text) is 'Raises PB003, PB004 or PB005 unless there is such a cross-encoder';

create or replace function pgsbert.rerank(query text, documents text[], model text default null, top_k integer default null)
returns table (ordinal integer, document text, score double precision)
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    known text[] := array(select d from unnest(documents) as d where d is not null);
    scores real[];
begin
    perform pgsbert.check_reranker(model);
    if query = '' then
        raise exception using errcode = 'PB007', message = 'the query is empty';
    elsif top_k < 1 then
        raise exception using errcode = 'PB007', message = format('top_k must be at least 1, not %s', top_k);
    elsif query is null or known = '{}' then
        return;
    end if;
    scores := (pgsbert.ask('rerank', model, query, known)).scores;
    return query
        select d.ordinal::int, d.document, scores[d.place]::float8
        from (
            select u.ordinal, u.document, count(u.document) over (order by u.ordinal) as place
            from unnest(documents) with ordinality as u (document, ordinal)
        ) as d
        where d.document is not null
        order by scores[d.place] desc, d.ordinal
        limit top_k;
end;
$$;
comment on function pgsbert.rerank(text, text[], text, integer) is 'Documents scored against a query by a cross-encoder, best first; NULL documents are left out';

create or replace function pgsbert.classify(premise text, hypothesis text, model text default null)
returns table (label text, probability double precision)
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    m pgsbert.model := pgsbert.model_for('classify', model);
    probabilities real[];
begin
    if premise = '' or hypothesis = '' then
        raise exception using errcode = 'PB007',
            message = format('the %s is empty', case when premise = '' then 'premise' else 'hypothesis' end),
            hint = 'NULL gives no rows.';
    elsif premise is null or hypothesis is null then
        return;
    end if;
    probabilities := (pgsbert.ask('classify', m.name, premise, array[hypothesis])).scores;
    return query
        select u.label, u.probability::float8
        from unnest(m.labels, probabilities) with ordinality as u (label, probability, place)
        order by u.probability desc, u.place;
end;
$$;
comment on function pgsbert.classify(text, text, text) is 'How probable each label of a classifier is for two texts, best first; for natural language inference: does the premise entail the hypothesis?';
