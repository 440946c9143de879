-- A database that was restored, copied or upgraded: what belongs to another database is made right before a worker
-- claims anything; and of a dump without data, what serves no vectorizer goes when it is in the way of a new one.

create or replace function pgsbert.recover(v pgsbert.vectorizer) returns pgsbert.vectorizer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    now_named pgsbert.vectorizer := pgsbert.recognized(v);
begin
    if v.stamp = pgsbert.stamp(v.source) then
        -- the names of today, for the day this database is restored elsewhere
        now_named.column_names := pgsbert.names_of(v.source, v.column_numbers, v.column_names);
        now_named.key_names := pgsbert.names_of(v.source, v.key_numbers, v.key_names);
        if v.storage = 'column' then
            now_named.target := (pgsbert.names_of(v.source, array[v.target_number], array[v.target]))[1];
        end if;
    end if;
    if now_named is not distinct from v then
        return v;
    end if;
    -- another worker may be at it; it finds the same
    perform from pgsbert.vectorizer as w where w.id = v.id and w.stamp = v.stamp for no key update skip locked;
    if not found then
        return null;
    elsif v.stamp = pgsbert.stamp(v.source) then
        update pgsbert.vectorizer as w
        set column_names = now_named.column_names, key_names = now_named.key_names, target = now_named.target
        where w.id = v.id;
        if now_named.target <> v.target then
            -- it has the name of the vector column for that day too
            perform pgsbert.make_trigger_function(now_named, format('clear_%s', v.id), '', pgsbert.clear_body(now_named));
        end if;
    elsif now_named.stamp <> v.stamp then
        update pgsbert.vectorizer as w
        set column_numbers = now_named.column_numbers, key_numbers = now_named.key_numbers,
            target_number = now_named.target_number, stamp = now_named.stamp,
            -- rows that came without their triggers are looked for
            swept_at = null, index_error = null
        where w.id = v.id
        returning w.* into now_named;
        perform pgsbert.renumber_queue(v.id);
        perform pgsbert.renew(now_named);
    end if;
    return now_named;
end;
$$;
comment on function pgsbert.recover(pgsbert.vectorizer) is 'Brings the row of a vectorizer up to date: names after a rename, numbers after a restore; null if another worker does it now';

create or replace function pgsbert.renew(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('grant select, insert, update, delete on pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s, pgsbert.truncated_%1$s to pgsbert_worker', v.id);
    if pgsbert.broken_by(v) is not null then
        return;
    end if;
    perform pgsbert.create_trigger_functions(v);
    -- an installer that is no superuser and no member of the owner cannot grant
    if (select pg_has_role(c.relowner, 'usage') from pg_class as c where c.oid = v.source) then
        perform pgsbert.grant_to_worker(v);
        if v.side is not null then
            execute format('grant select, insert, update, delete on %s to pgsbert_worker', v.side);
        end if;
    end if;
end;
$$;
comment on function pgsbert.renew(pgsbert.vectorizer) is 'Makes the trigger functions of a vectorizer anew, and gives the worker its rights again';

create or replace function pgsbert.renew_search(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    ours record;
begin
    for ours in
        select n.nspname as schema_name, p.proname as name, p.oid::regprocedure as signature
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_proc as p on p.pronamespace = n.oid and p.proname = v.name || '_search' and p.proowner = c.relowner
        where c.oid = v.source and p.prosrc <> pgsbert.search_body(v)
          and pgsbert.is_ours(obj_description(p.oid, 'pg_proc'), v) and pg_has_role(p.proowner, 'usage')
    loop
        begin
            -- in place, so that grants and what uses it stay
            execute format(
                'create or replace function %I.%I(query text, k integer default 10, rerank boolean default false, candidates integer default 50) '
                'returns table (item %s, distance double precision, score double precision) '
                'language plpgsql stable parallel unsafe as %L',
                ours.schema_name, ours.name, v.source, pgsbert.search_body(v)
            );
        exception when others then
            -- its owner made something else of it: that must not hold up the upgrade of all
            raise warning 'function % was not made anew: %', ours.signature, sqlerrm;
        end;
    end loop;
end;
$$;
comment on function pgsbert.renew_search(pgsbert.vectorizer) is 'Makes <name>_search anew where this version makes another one';

create or replace function pgsbert.renew_vectorizers() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer order by id for no key update loop
        v := pgsbert.recover(v);
        perform pgsbert.renew(v);
        perform pgsbert.renew_search(v);
    end loop;
    perform pgsbert.announce();
end;
$$;
comment on function pgsbert.renew_vectorizers() is 'Part of install and upgrade: what was generated for each vectorizer is made by the functions of this version';

create or replace function pgsbert.renumber_queue(vectorizer_id integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    newest bigint;
begin
    -- workers of another database held these; failures stay
    execute format('delete from pgsbert.lease_%s where failed_at is null', vectorizer_id);
    execute format(
        'select greatest((select max(revision) from pgsbert.pending_%1$s), (select max(revision) from pgsbert.lease_%1$s))', vectorizer_id
    ) into newest;
    if newest > (select last_value from pgsbert.revision) then
        -- as upgrades do: of two that set it, none may set it back
        perform pg_advisory_xact_lock(1885827938, 0);
        perform setval('pgsbert.revision', greatest(newest, (select last_value from pgsbert.revision)));
    end if;
    -- where the sequence was restored after the rows, or not at all, users' writes have numbers that others have
    execute format('update pgsbert.pending_%s set revision = nextval(''pgsbert.revision'')', vectorizer_id);
end;
$$;
comment on function pgsbert.renumber_queue(integer) is 'After a restore: no row is leased, and no revision is there twice';

create or replace function pgsbert.drop_orphaned_queues(source oid, vectorizer_id integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    number integer;
    trigger_function regprocedure;
begin
    for number in
        select vectorizer_id
        union
        select substring(p.proname from '^(?:enqueue|clear)_([0-9]+)')::integer
        from pg_trigger as t
        join pg_proc as p on p.oid = t.tgfoid and p.pronamespace = 'pgsbert'::regnamespace
        where t.tgrelid = source
    loop
        continue when number is null or number <> vectorizer_id and exists (select from pgsbert.vectorizer as v where v.id = number);
        execute format('drop table if exists pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s, pgsbert.truncated_%1$s', number);
        for trigger_function in
            select p.oid::regprocedure from pg_proc as p
            where p.pronamespace = 'pgsbert'::regnamespace and p.proname ~ format('^(enqueue|clear)_%s(_|$)', number)
        loop
            execute format('drop function %s cascade', trigger_function);
        end loop;
    end loop;
end;
$$;
comment on function pgsbert.drop_orphaned_queues(oid, integer) is 'Part of create_vectorizer: removes queues and triggers whose vectorizer was not restored with them';

create or replace function pgsbert.orphans(v pgsbert.vectorizer) returns table (kind text, name text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    source_schema oid := (select c.relnamespace from pg_class as c where c.oid = v.source);
    side regclass := (
        select to_regclass(format('%I.%I', n.nspname, c.relname || '_' || v.target))
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where c.oid = v.source
    );
    is_filled boolean;
begin
    return query
        select o.kind, o.name
        from (
            select 'function', p.oid::regprocedure::text, d.description, p.proowner
            from pg_proc as p join pg_description as d on d.classoid = 'pg_proc'::regclass and d.objoid = p.oid
            where p.pronamespace = source_schema and p.proname = v.name || '_search'
            union all
            select 'view', c.oid::regclass::text, d.description, c.relowner
            from pg_class as c join pg_description as d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
            where c.relnamespace = source_schema and c.relname = v.name || '_neighbors' and c.relkind = 'v'
        ) as o (kind, name, description, owner)
        where o.description ~ 'Made by pgsbert for ".*", vectorizer [0-9]+$' and pg_has_role(pgsbert.caller(), o.owner, 'usage')
          and not exists (select from pgsbert.vectorizer as w where w.id <> v.id and pgsbert.is_ours(o.description, w));
    -- empty: vectors that somebody kept are not ours to drop
    if v.storage = 'table' and side is not null
       and obj_description(side, 'pg_class') = format('Embeddings of %s, kept by pgsbert', v.source)
       and not exists (select from pgsbert.vectorizer as w where w.side = side) then
        execute format('select exists (select from %s)', side) into is_filled;
        if not is_filled then
            return query select 'table', side::text;
        end if;
    end if;
end;
$$;
comment on function pgsbert.orphans(pgsbert.vectorizer) is 'What stands where a new vectorizer makes its own, and was made for one that is not in this database';

create or replace function pgsbert.drop_orphans(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    orphan record;
begin
    for orphan in select * from pgsbert.orphans(v) loop
        execute format('drop %s %s', orphan.kind, orphan.name);
    end loop;
end;
$$;
comment on function pgsbert.drop_orphans(pgsbert.vectorizer) is 'Part of create_vectorizer: drops with the caller''s rights what was restored without its vectorizer';
