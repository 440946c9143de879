-- What a vectorizer makes beside its table, with the rights of the table's owner: search function, view of neighbours,
-- side table.

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
