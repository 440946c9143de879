-- What can be done with a vectorizer that is there: pause, resume, refresh, sweep, wait, drop.

create or replace function pgsbert.halt_index_builds(source oid) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    vectorizer_id integer;
    builder record;
begin
    -- CREATE INDEX CONCURRENTLY waits for the snapshot of the statement that calls us, which would wait for its lock
    -- on the table: a deadlock. With the builders' lock held until commit, no new build begins either.
    for vectorizer_id in select v.id from pgsbert.vectorizer as v where v.source = halt_index_builds.source order by v.id loop
        while not pg_try_advisory_xact_lock(1885827940, vectorizer_id) loop
            for builder in
                select l.pid, a.usesysid as role
                from pg_locks as l
                join pg_database as d on d.oid = l.database and d.datname = current_database()
                join pg_stat_activity as a on a.pid = l.pid and a.application_name = 'pgsbert index'
                where l.locktype = 'advisory' and l.classid = 1885827940 and l.objid = vectorizer_id and l.granted
            loop
                if not pg_has_role(current_user, builder.role, 'usage') and not pg_has_role(current_user, 'pg_signal_backend', 'usage') then
                    raise exception using errcode = '55006',
                        message = format('a worker builds an index on %s, and %I may not end what the role %I does',
                                         halt_index_builds.source::regclass, current_user, pg_get_userbyid(builder.role)),
                        hint = format('Repeat this when it is built, or have an administrator run: grant %I to %I',
                                      pg_get_userbyid(builder.role), current_user);
                end if;
                perform pg_cancel_backend(builder.pid);
            end loop;
            perform pg_sleep(0.01);
        end loop;
    end loop;
end;
$$;
comment on function pgsbert.halt_index_builds(oid) is 'Ends what workers build on a table, until this transaction ends: its triggers and columns are about to change';

create or replace function pgsbert.worker_columns(v pgsbert.vectorizer) returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
return (
    -- by number: names may have changed since they were granted
    select string_agg(quote_ident(a.attname), ', ')
    from pg_attribute as a
    where a.attrelid = v.source and not a.attisdropped
      and a.attnum = any (v.column_numbers || v.key_numbers || v.target_number)
      and not exists (
          select
          from pgsbert.vectorizer as other
          where other.source = v.source and other.id <> v.id
            and a.attnum = any (other.column_numbers || other.key_numbers || other.target_number)
      )
);
comment on function pgsbert.worker_columns(pgsbert.vectorizer) is 'The columns of a table that the worker needs for this vectorizer and no other';

create or replace function pgsbert.leave_table(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    columns text := pgsbert.worker_columns(v);
    half_built regclass;
begin
    for half_built in
        select i.indexrelid
        from pg_index as i
        join pg_class as c on c.oid = i.indexrelid
        join pg_am as a on a.oid = c.relam and a.amname = 'hnsw'
        where i.indrelid = any (pgsbert.leaf_partitions(v.source) || v.source || v.side) and not i.indisvalid and pg_has_role(c.relowner, 'usage')
    loop
        execute format('drop index %s', half_built);
    end loop;
    if columns is not null then
        execute format('revoke select (%1$s), update (%1$s) on %2$s from pgsbert_worker', columns, v.source);
    end if;
end;
$$;
comment on function pgsbert.leave_table(pgsbert.vectorizer) is 'Part of drop_vectorizer, with the caller''s rights: half-built indexes, and what grant_to_worker gave as far as no other vectorizer needs it';

create or replace function pgsbert.unregister_vectorizer(vectorizer_name text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(vectorizer_name);
begin
    if exists (select from pg_class where oid = v.source) then
        perform pgsbert.check_owner(v.source);
        perform pgsbert.halt_index_builds(v.source);
    end if;
    -- a worker that is making the functions anew holds it: neither waits for the other's half
    perform from pgsbert.vectorizer as w where w.id = v.id for update;
    execute format('drop table if exists pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s, pgsbert.truncated_%1$s', v.id);
    -- with them go the triggers, whatever they are called now
    execute format(
        'drop function if exists pgsbert.enqueue_%1$s_insert(), pgsbert.enqueue_%1$s_update(), pgsbert.enqueue_%1$s_delete(), '
        'pgsbert.enqueue_%1$s_truncate(), pgsbert.clear_%1$s() cascade',
        v.id
    );
    delete from pgsbert.vectorizer where id = v.id;
    perform pgsbert.announce();
end;
$$;
comment on function pgsbert.unregister_vectorizer(text) is 'First step of drop_vectorizer: removes triggers, queue and registration';

create or replace function pgsbert.find_vectorizer(vectorizer_name text) returns pgsbert.vectorizer
language sql stable security definer
set search_path = pg_catalog, pg_temp
return pgsbert.vectorizer_named(vectorizer_name);
comment on function pgsbert.find_vectorizer(text) is 'The vectorizer of that name for callers who may not read the table, or PB006';

create or replace function pgsbert.drop_vectorizer(name text, drop_vectors boolean default false, if_exists boolean default false) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    target name;
    lock_timeout_before text;
begin
    if if_exists and not pgsbert.is_vectorizer(name) then
        raise notice 'vectorizer "%" does not exist, skipping', name;
        return;
    end if;
    v := pgsbert.find_vectorizer(name);
    lock_timeout_before := pgsbert.limit_lock_waits();
    perform pgsbert.unregister_vectorizer(name);
    perform pgsbert.drop_search(v);
    if drop_vectors and exists (select from pg_class where oid = v.side) then
        execute format('drop table %s', v.side);
    end if;
    if exists (select from pg_class where oid = v.source) then
        perform pgsbert.leave_table(v);
        target := (select attname from pg_attribute where attrelid = v.source and attnum = v.target_number and not attisdropped);
        if drop_vectors and v.storage = 'column' and target is not null then
            execute format('alter table %s drop column %I', v.source, target);
        end if;
    end if;
    perform set_config('lock_timeout', lock_timeout_before, true);
exception when lock_not_available then
    perform pgsbert.raise_held(v.source);
end;
$$;
comment on function pgsbert.drop_vectorizer(text, boolean, boolean) is 'Ends a vectorizer; the vectors stay unless drop_vectors';

create or replace function pgsbert.is_vectorizer(vectorizer_name text) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
return exists (select from pgsbert.vectorizer where name = vectorizer_name);
comment on function pgsbert.is_vectorizer(text) is 'Whether a vectorizer has that name';

create or replace function pgsbert.pause_vectorizer(name text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    update pgsbert.vectorizer as w set paused = true where w.id = v.id;
    perform pgsbert.announce();
end;
$$;
comment on function pgsbert.pause_vectorizer(text) is 'Stops the claims; changes go on being queued';

create or replace function pgsbert.resume_vectorizer(name text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    update pgsbert.vectorizer as w set paused = false where w.id = v.id;
    perform pgsbert.announce();
end;
$$;
comment on function pgsbert.resume_vectorizer(text) is 'Ends a pause';

create or replace function pgsbert.refresh(name text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    update pgsbert.vectorizer as w set filled_at = null, index_error = null where w.id = v.id;
    -- The walk starts again; every row it reaches is queued, whatever vector it has. After the row lock, which a
    -- worker's range holds, so that its new last key is visible here.
    execute format('delete from pgsbert.fill_%s', v.id);
    perform pgsbert.announce();
end;
$$;
comment on function pgsbert.refresh(text) is 'Embeds every row anew, from the first to the last, while searches go on';

create or replace function pgsbert.sweep(name text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    -- waits for the range of a worker, whose new last key is visible after that
    update pgsbert.vectorizer as w set swept_at = null where w.id = v.id returning w.* into v;
    if v.filled_at is not null then
        -- one under way begins again; while every row is being embedded there is nothing to look for
        execute format('delete from pgsbert.fill_%s', v.id);
    end if;
    perform pgsbert.announce();
end;
$$;
comment on function pgsbert.sweep(text) is 'Looks now for rows that no trigger saw: text without a vector, and vectors without text or row';

create or replace function pgsbert.is_synced(name text) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
    waiting boolean;
begin
    if v.broken_reason is not null then
        raise exception using errcode = 'PB008',
            message = format('vectorizer "%s" is broken: %s', v.name, v.broken_reason);
    elsif v.filled_at is null then
        return false;
    end if;
    execute format('select exists (select from pgsbert.pending_%s)', v.id) into waiting;
    return not waiting;
end;
$$;
comment on function pgsbert.is_synced(text) is 'Whether nothing of a vectorizer waits to be embedded';

create or replace procedure pgsbert.wait_until_synced(name text, timeout interval default '1 minute')
language plpgsql
as $$
declare
    deadline timestamptz := clock_timestamp() + timeout;
begin
    if timeout is null then
        raise exception using errcode = 'PB007', message = 'timeout => must be an interval, not NULL';
    end if;
    loop
        -- a new snapshot each time, also where the caller's transactions are REPEATABLE READ
        commit;
        exit when pgsbert.is_synced(name);
        if clock_timestamp() >= deadline then
            raise exception using errcode = 'PB002',
                message = pg_catalog.format('vectorizer "%s" was not in sync after %s', name, timeout),
                hint = 'select * from pgsbert.status shows what is pending and which workers run.';
        end if;
        perform pg_catalog.pg_sleep(0.01);
    end loop;
end;
$$;
comment on procedure pgsbert.wait_until_synced(text, interval) is 'Returns when nothing is pending; call it outside a transaction block';
