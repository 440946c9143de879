-- Search by meaning. Everything here runs as the caller, so that grants and row-level security of the table hold.
-- Statements are made for the names the table has at that moment; operators are qualified, for vector may live anywhere.

create or replace function pgsbert.document_expression(v pgsbert.vectorizer, alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    with tracked as (
        select u.place, format('%s.%I::text collate "C"', alias, a.attname) as content
        from unnest(v.column_numbers) with ordinality as u (number, place)
        join pg_attribute as a on a.attrelid = v.source and a.attnum = u.number
    ), part as (
        select m.place, case m.found[1] when '{{' then '{' when '}}' then '}' else m.found[1] end as literal, t.content
        from regexp_matches(v.template, '\{\{|\}\}|\{\d+\}|[^{}]+', 'g') with ordinality as m (found, place)
        left join tracked as t on m.found[1] = '{' || t.place || '}'
    )
    select case
        when v.template is null then
            (select format('pg_catalog.concat_ws(E''\n'', %s)', string_agg(format('nullif(%s, '''')', content), ', ' order by place)) from tracked)
        else (
            -- what stands between the columns is no text of its own
            select format('case when %s then '''' else %s end', nothing, filled_in)
            from
                (select string_agg(format('coalesce(%s, '''') = ''''', content), ' and ' order by place) from tracked) as e (nothing),
                (select string_agg(coalesce('coalesce(' || content || ', '''')', quote_literal(literal)), ' || ' order by place) from part) as f (filled_in)
        )
    end;
end;
comment on function pgsbert.document_expression(pgsbert.vectorizer, text) is 'The text of a row as it is embedded';

create or replace function pgsbert.target_name(v pgsbert.vectorizer) returns name
language sql stable
set search_path = pg_catalog, pg_temp
return case
    when v.storage = 'table' then
        -- it comes after the key, whatever it is called
        (select attname from pg_attribute where attrelid = v.side and attnum = cardinality(v.key_numbers) + 1 and not attisdropped)
    else (select attname from pg_attribute where attrelid = v.source and attnum = v.target_number and not attisdropped)
end;
comment on function pgsbert.target_name(pgsbert.vectorizer) is 'What the vector column is called now';

create or replace function pgsbert.names_of(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return concat_ws(' ', v.source, v.side, (
    select array_agg(a.attname order by a.attrelid = v.source, a.attnum)
    from pg_attribute as a
    where not a.attisdropped
      and (a.attrelid = v.source and a.attnum = any (v.column_numbers || v.key_numbers || v.target_number)
           or a.attrelid = v.side and a.attnum between 1 and cardinality(v.key_numbers) + 1)
));
comment on function pgsbert.names_of(pgsbert.vectorizer) is 'What everything that a worker names is called now';

create or replace function pgsbert.check_names(vectorizer_id integer, names text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if (select pgsbert.names_of(v) from pgsbert.vectorizer as v where v.id = vectorizer_id) is distinct from names then
        raise undefined_column using
            message = format('something of vectorizer %s has another name now', vectorizer_id),
            -- tells it from what the table's own triggers lack
            schema = 'pgsbert';
    end if;
    return true;
end;
$$;
comment on function pgsbert.check_names(integer, text) is 'Raises 42703 unless everything is still called what a worker believes: names may have changed places';

create or replace function pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- the side table's key columns are its first, in the order of the key
    select string_agg(format('%s.%I %s %s.%I', source_alias, k.name, k.operator, side_alias, a.attname), ' and ' order by k.place)
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place
);
comment on function pgsbert.side_match(pgsbert.vectorizer, text, text) is 'The condition that a row of the side table belongs to a row of the source';

create or replace function pgsbert.vector_relation(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case
    when v.storage = 'table' then format('%s as t join %s as s on %s', v.side, v.source, pgsbert.side_match(v, 's', 't'))
    else format('%s as s', v.source)
end;
comment on function pgsbert.vector_relation(pgsbert.vectorizer) is 'FROM what a search reads: the source, with its side table where vectors are there';

create or replace function pgsbert.distance_expression(v pgsbert.vectorizer, other text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return format(
    '(%s.%I operator(%I.%s) %s)',
    case when v.storage = 'table' then 't' else 's' end,
    pgsbert.target_name(v),
    pgsbert.vector_schema(),
    case v.distance when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end,
    other
);
comment on function pgsbert.distance_expression(pgsbert.vectorizer, text) is 'The distance of a row to a vector, as the index of the vectorizer orders it';

create or replace function pgsbert.item_expression(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return format('to_jsonb(s.*) - %L::text[]', array(
    select a.attname from pg_attribute as a where a.attrelid = v.source and a.atttypid = pgsbert.vector_type() and not a.attisdropped
));
comment on function pgsbert.item_expression(pgsbert.vectorizer) is 'A row as jsonb, without its vectors';

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

create or replace function pgsbert.made_for(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return format('Made by pgsbert for "%s", vectorizer %s', v.name, v.id);
comment on function pgsbert.made_for(pgsbert.vectorizer) is 'How the comments on what a vectorizer made beside its table end';

create or replace function pgsbert.is_ours(comment text, v pgsbert.vectorizer) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
-- not LIKE: a name may hold % and _
return coalesce(right(comment, length(pgsbert.made_for(v))) = pgsbert.made_for(v), false);
comment on function pgsbert.is_ours(text, pgsbert.vectorizer) is 'Whether a function or view with that comment was made for a vectorizer';

create or replace function pgsbert.free_name(wanted text, taken text[]) returns name
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    candidate name := wanted::name;
    attempt integer := 1;
begin
    while candidate::text = any (taken) loop
        attempt := attempt + 1;
        candidate := left(wanted, 12) || '_' || attempt;
    end loop;
    return candidate;
end;
$$;
comment on function pgsbert.free_name(text, text[]) is 'A column name like the one wanted, cut to 63 bytes, that is not taken';

create or replace function pgsbert.search_body(v pgsbert.vectorizer) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return format($body$
#variable_conflict use_column
declare
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(%1$s, 'row', rerank) using pgsbert.embed(query, %2$L), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$body$, v.id, v.model);
comment on function pgsbert.search_body(pgsbert.vectorizer) is 'What <name>_search does';

create or replace function pgsbert.create_search(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    source_schema name;
    owner name;
    function_name text := v.name || '_search';
    view_name text := v.name || '_neighbors';
    arguments text := '(text, integer, boolean, integer)';
begin
    select n.nspname, pg_get_userbyid(c.relowner) into source_schema, owner
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.oid = v.source;
    if octet_length(view_name) > 63 then
        raise exception using errcode = 'PB007',
            message = format('name => "%s" is too long for %s', v.name, view_name),
            hint = 'Pass a name of at most 53 bytes.';
    elsif exists (
        -- with other arguments too: calls of theirs could become ambiguous
        select from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
        where n.nspname = source_schema and p.proname = function_name
    ) then
        raise exception using errcode = 'PB007',
            message = format('function %I.%I exists and is not this vectorizer''s', source_schema, function_name),
            hint = 'Pass name => for another prefix.';
    elsif to_regclass(format('%I.%I', source_schema, view_name)) is not null then
        raise exception using errcode = 'PB007',
            message = format('relation %I.%I exists and is not this vectorizer''s', source_schema, view_name),
            hint = 'Pass name => for another prefix.';
    end if;
    -- the body as a literal: there may be a name in it that ends any dollar quote
    execute format(
        'create function %I.%I(query text, k integer default 10, rerank boolean default false, candidates integer default 50) '
        'returns table (item %s, distance double precision, score double precision) '
        'language plpgsql stable parallel unsafe as %L',
        source_schema, function_name, v.source, pgsbert.search_body(v)
    );
    execute format(
        'comment on function %I.%I%s is %L', source_schema, function_name, arguments,
        'The rows nearest in meaning to a query. ' || pgsbert.made_for(v)
    );
    execute format(
        'create view %I.%I with (security_invoker = true) as %s', source_schema, view_name, pgsbert.neighbors_sql(v)
    );
    -- it runs with the rights of who asks, so that those on the table decide
    execute format('grant select on %I.%I to public', source_schema, view_name);
    execute format(
        'comment on view %I.%I is %L', source_schema, view_name,
        'The ten nearest of each row; filter it by key. ' || pgsbert.made_for(v)
    );
    if owner <> current_user then
        execute format('alter function %I.%I%s owner to %I', source_schema, function_name, arguments, owner);
        execute format('alter view %I.%I owner to %I', source_schema, view_name, owner);
    end if;
end;
$$;
comment on function pgsbert.create_search(pgsbert.vectorizer) is 'Makes <name>_search and <name>_neighbors beside the source table; never replaces what is not ours';

create or replace function pgsbert.neighbors_sql(v pgsbert.vectorizer) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    vector_table regclass := coalesce(v.side, v.source);
    target name := pgsbert.target_name(v);
    keys name[];
    operators text[];
    taken text[];
    neighbor_keys name[] := '{}';
    distance name;
begin
    select array_agg(a.attname order by k.place), array_agg(k.operator order by k.place) into keys, operators
    from pgsbert.vector_key(v) as k
    join pg_attribute as a on a.attrelid = vector_table and a.attnum = k.number;
    distance := pgsbert.free_name('distance', keys::text[]);
    taken := keys::text[] || distance::text;
    for i in 1 .. cardinality(keys) loop
        neighbor_keys := neighbor_keys || pgsbert.free_name('neighbor_' || keys[i], taken);
        taken := taken || neighbor_keys[i]::text;
    end loop;
    return format(
        'select %1$s, %2$s, n.distance as %3$I from %4$s as o cross join lateral ('
        'select %5$s, (t.%6$I operator(%7$I.%8$s) o.%6$I)::float8 from %4$s as t '
        'where t.%6$I is not null and not (%9$s) order by t.%6$I operator(%7$I.%8$s) o.%6$I limit 10'
        ') as n (%10$s, distance) where o.%6$I is not null',
        (select string_agg(format('o.%I', name), ', ' order by i) from unnest(keys) with ordinality as u (name, i)),
        (select string_agg(format('n.k%s as %I', i, name), ', ' order by i) from unnest(neighbor_keys) with ordinality as u (name, i)),
        distance, vector_table,
        (select string_agg(format('t.%I', name), ', ' order by i) from unnest(keys) with ordinality as u (name, i)),
        target, pgsbert.vector_schema(),
        case v.distance when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end,
        (select string_agg(format('t.%1$I %2$s o.%1$I', name, operator), ' and ') from unnest(keys, operators) as u (name, operator)),
        (select string_agg('k' || i, ', ' order by i) from generate_series(1, cardinality(keys)) as i)
    );
end;
$$;
comment on function pgsbert.neighbors_sql(pgsbert.vectorizer) is 'The query of <name>_neighbors: it binds key and vector columns only, so that other columns stay free';

create or replace function pgsbert.vector_key(v pgsbert.vectorizer) returns table (place bigint, number smallint, operator text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select k.place, case when v.storage = 'table' then k.place::smallint else k.number end, k.operator
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k;
end;
comment on function pgsbert.vector_key(pgsbert.vectorizer) is 'The key columns of the table that holds the vectors';

create or replace function pgsbert.drop_search(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    ours record;
begin
    for ours in
        select p.oid::regprocedure as name
        from pg_description as d join pg_proc as p on d.classoid = 'pg_proc'::regclass and p.oid = d.objoid
        -- what a stranger labelled so must not stop the drop
        where pgsbert.is_ours(d.description, v) and pg_has_role(p.proowner, 'usage')
    loop
        execute format('drop function %s', ours.name);
    end loop;
    for ours in
        select c.oid::regclass as name
        from pg_description as d join pg_class as c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid
        where d.objsubid = 0 and c.relkind = 'v' and pgsbert.is_ours(d.description, v) and pg_has_role(c.relowner, 'usage')
    loop
        execute format('drop view %s', ours.name);
    end loop;
end;
$$;
comment on function pgsbert.drop_search(pgsbert.vectorizer) is 'Removes the search function and the neighbors view of a vectorizer';

create or replace function pgsbert.create_side(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    source_schema name;
    source_name name;
    owner name;
    forced boolean;
    side text;
    side_name text;
    reader record;
    keys name[] := array(select k.name from pgsbert.key_columns(pgsbert.key_index(v.source)) as k order by k.place);
begin
    select n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relforcerowsecurity into source_schema, source_name, owner, forced
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.oid = v.source;
    side_name := source_name || '_' || v.target;
    side := format('%I.%I', source_schema, side_name);
    if octet_length(side_name) > 63 then
        raise exception using errcode = 'PB007',
            message = format('target => "%s" is too long for the table %s', v.target, side_name);
    elsif to_regclass(side) is not null then
        raise exception using errcode = 'PB007',
            message = format('relation %s exists', side),
            hint = 'Give another suffix with target =>.';
    end if;
    execute format(
        'create table %s (%s, %I %s(%s) not null, primary key (%s))',
        side,
        (select string_agg(format('%I %s not null', k.name, pgsbert.column_type(v.source, k.number)), ', ' order by k.place)
         from pgsbert.key_columns(pgsbert.key_index(v.source)) as k),
        pgsbert.free_name('embedding', keys::text[]), pgsbert.vector_type(), (pgsbert.bi_encoder_named(v.model)).dimensions,
        (select string_agg(quote_ident(name), ', ' order by i) from unnest(keys) with ordinality as u (name, i))
    );
    execute format('comment on table %s is %L', side, format('Embeddings of %s, kept by pgsbert', v.source));
    execute format('grant select, insert, update, delete on %s to pgsbert_worker', side);
    -- whoever reads the source reads its vectors: the search function runs as its caller
    for reader in
        select distinct a.grantee
        from pg_class as c cross join aclexplode(c.relacl) as a
        where c.oid = v.source and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
    loop
        execute format('grant select on %s to %s', side,
                       case when reader.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(reader.grantee)) end);
    end loop;
    if owner <> current_user then
        execute format('alter table %s owner to %I', side, owner);
    end if;
    perform pgsbert.register_side(v.id, side::regclass);
    -- Always: row security may come to the source later, and who sees a row there sees its vector here. The subquery
    -- runs with the rights of the reader.
    execute format('alter table %s enable row level security', side);
    if forced then
        execute format('alter table %s force row level security', side);
        -- the trigger functions delete with the owner's rights
        execute format('create policy of_owner on %s to %I using (true) with check (true)', side, owner);
    end if;
    execute format('create policy of_worker on %s to pgsbert_worker using (true) with check (true)', side);
    execute format(
        'create policy of_source on %s for select using (exists (select from %s as s where %s))',
        side, v.source, pgsbert.side_match(pgsbert.find_vectorizer(v.name), 's', quote_ident(side_name))
    );
end;
$$;
comment on function pgsbert.create_side(pgsbert.vectorizer) is 'Makes the side table of storage => ''table'': the key, and the embedding';

create or replace function pgsbert.register_side(vectorizer_id integer, side regclass) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgsbert.check_owner((select v.source from pgsbert.vectorizer as v where v.id = vectorizer_id));
    perform pgsbert.check_owner(side);
    update pgsbert.vectorizer as v set side = register_side.side
    where v.id = vectorizer_id and v.storage = 'table' and v.side is null;
end;
$$;
comment on function pgsbert.register_side(integer, regclass) is 'Part of create_vectorizer: notes the side table';
