-- The trigger functions of a vectorizer, made for its source as it is. They belong to the installer and run with its
-- rights: whoever writes to the table needs no right in schema pgsbert.

create or replace function pgsbert.make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    signature text := format('pgsbert.%I()', function_name);
    owner name := (select pg_get_userbyid(relowner) from pg_class where oid = v.source);
    may_create boolean;
begin
    -- the body as a literal: there may be a name in it that ends any dollar quote
    execute format(
        'create or replace function %s returns trigger language plpgsql %s set search_path = pg_catalog, pg_temp %s as %L',
        -- it touches the row alone, whose types may be the owner's, with checks of theirs
        signature, case when function_name like 'clear%' and v.side is null then 'security invoker' else 'security definer' end, settings, body
    );
    -- A new function is everybody's: on a table of his own, a stranger could fill this queue through it. The owner
    -- needs it once, to make the triggers.
    execute format('revoke all on function %s from public', signature);
    execute format('grant execute on function %s to %I', signature, owner);
    if v.side is not null then
        -- Deleting from the side table runs whatever its owner put on it: with the owner's rights, not the installer's.
        owner := (select pg_get_userbyid(relowner) from pg_class where oid = v.side);
        -- The new owner of a function must be allowed to make one here, unless a superuser gives it.
        may_create := has_schema_privilege(owner, 'pgsbert', 'create');
        if not may_create then
            execute format('grant create on schema pgsbert to %I', owner);
        end if;
        execute format('alter function %s owner to %I', signature, owner);
        if not may_create then
            execute format('revoke create on schema pgsbert from %I', owner);
        end if;
    end if;
    execute format('comment on function %s is %L', signature, 'A trigger function of vectorizer ' || v.name);
end;
$$;
comment on function pgsbert.make_trigger_function(pgsbert.vectorizer, text, text, text) is 'Makes one trigger function of a vectorizer';

create or replace function pgsbert.trigger_owner(v pgsbert.vectorizer) returns oid
language sql stable
set search_path = pg_catalog, pg_temp
return (select p.proowner from pg_proc as p where p.oid = to_regprocedure(format('pgsbert.enqueue_%s_delete()', v.id)));
comment on function pgsbert.trigger_owner(pgsbert.vectorizer) is 'With whose rights the trigger functions of a vectorizer run';

create or replace function pgsbert.owner_lacks_grants(v pgsbert.vectorizer) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return v.side is not null and not (
    has_table_privilege(pgsbert.trigger_owner(v), format('pgsbert.pending_%s', v.id), 'insert')
    and has_schema_privilege(pgsbert.trigger_owner(v), 'pgsbert', 'usage')
);
comment on function pgsbert.owner_lacks_grants(pgsbert.vectorizer) is 'Whether the trigger functions of a side table may not do what grant_to_owner lets them do';

create or replace function pgsbert.grant_to_owner(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    owner name := pg_get_userbyid(pgsbert.trigger_owner(v));
begin
    if pgsbert.owner_lacks_grants(v) is not true then
        return;
    end if;
    execute format('grant usage on schema pgsbert to %I', owner);
    execute format('grant usage on sequence pgsbert.revision to %I', owner);
    execute format('grant select, insert, update, delete on pgsbert.pending_%s to %I', v.id, owner);
    execute format(
        'grant execute on function pgsbert.wake(), pgsbert.enqueue_anew(integer, text), pgsbert.leave_to_worker(integer, text[]), '
        'pgsbert.vectorizer_numbered(integer), pgsbert.column_type(oid, smallint), pgsbert.key_columns(oid), pgsbert.key_index(oid) to %I',
        owner
    );
end;
$$;
comment on function pgsbert.grant_to_owner(pgsbert.vectorizer) is 'Gives the owner of a side table what its trigger functions need';

create or replace function pgsbert.side_unmoved_sql(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case when v.side is null then '' else format(
    -- it may be renamed, moved, dropped or given to another
    ' and to_regclass(%L) = %s::oid and has_table_privilege(%2$s::oid, ''delete'') and (select count(*) from pg_attribute where attrelid = %2$s and attname = any (%L)) = %s',
    v.side, v.side::oid,
    array(select a.attname from pg_attribute as a where a.attrelid = v.side and a.attnum between 1 and cardinality(v.key_numbers)),
    cardinality(v.key_numbers)
) end;
comment on function pgsbert.side_unmoved_sql(pgsbert.vectorizer) is 'The condition that trigger functions still fit the side table, empty where there is none';

create or replace function pgsbert.unmoved_sql(v pgsbert.vectorizer) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    columns smallint[] := array(select number from pgsbert.live_columns(v));
    unmoved text := case
        -- null for a dropped column, whatever the caller may read
        when cardinality(columns) <= 16 then (
            select string_agg(format('has_column_privilege(tg_relid, %s::smallint, ''select'') is not null', number), ' and ')
            from unnest(columns) as number
        )
        -- one query costs less than many calls
        else format(
            '(select count(*) from pg_attribute where attrelid = tg_relid and attnum = any (%L::smallint[]) and not attisdropped) = %s',
            columns, cardinality(columns)
        )
    end || format(
        -- null for a dropped index: the key is gone, or has another type, for which its index was made anew
        ' and pg_relation_filenode(%s::oid) is not null', pgsbert.key_index(v.source)::oid
    ) || case when v.side is null then format(
        -- With the installer's rights no code of the table's owner may run: not on another table of theirs, nor a cast of
        -- a type that a column was given since, which has the table written anew. So has TRUNCATE, whose trigger makes the
        -- functions fit again, and VACUUM FULL, after which a worker's next look does. (A query for the types would cost
        -- every statement more than all the rest.)
        ' and tg_relid = %1$s::oid and pg_relation_filenode(tg_relid) = %2$s::oid', v.source::oid, pg_relation_filenode(v.source)
    ) else '' end;
begin
    if v.row_triggers then
        return pgsbert.row_unmoved_sql(v);
    end if;
    return unmoved || pgsbert.side_unmoved_sql(v);
end;
$$;
comment on function pgsbert.unmoved_sql(pgsbert.vectorizer) is 'The condition that trigger functions made now would still fit their tables';

create or replace function pgsbert.clear_body(v pgsbert.vectorizer) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return format($body$
declare
    target name;
begin
    -- by number where it is the one of this database, else by name: what runs here may read nothing but the catalog
    if format('%%s/%%s/%%s', (select system_identifier from pg_control_system()),
              (select oid from pg_database where datname = current_database()), %1$s) = %2$L then
        select attname into target from pg_attribute where attrelid = %1$s and attnum = %3$s and not attisdropped;
    else
        select attname into target from pg_attribute where attrelid = tg_relid and attname = %4$L and not attisdropped;
    end if;
    if target is null then
        return new;
    end if;
    return jsonb_populate_record(new, jsonb_build_object(target, null));
end;
$body$, v.source::oid, pgsbert.stamp(v.source), coalesce(v.target_number, 0), pgsbert.target_name(v));
end;
$$;
comment on function pgsbert.clear_body(pgsbert.vectorizer) is 'What clears the vector of one row before it is written, on the table or any of its partitions';

create or replace function pgsbert.create_trigger_functions(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    unmoved text := pgsbert.unmoved_sql(v);
    -- tried here as well: an awake worker then costs neither a call nor a query
    wake text := $make$
    if queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
    end if;$make$;
    -- where the functions do not fit: a trigger of this table, or one that its owner made on another
    if_foreign text := case when v.side is null then format(
        'if not exists (select from pgsbert.vectorizer where id = %s and source = tg_relid) then return null; end if;', v.id
    ) else '' end;
    clear_side text := '';
    try_gone text := '';
    leave_gone text := '';
begin
    if v.row_triggers then
        perform pgsbert.create_row_trigger_functions(v);
        return;
    end if;
    if v.side is not null then
        clear_side := format($make$
    if queued > 0 then
        statement := pgsbert.enqueue_anew(%1$s, 'unside');
        -- one by one, so that each is found by key whatever the side table's size
        for cleared in execute coalesce(pgsbert.enqueue_anew(%1$s, 'cleared'), 'select where false') loop
            if current_setting('transaction_isolation') like 'read%%' then
                execute statement using %2$s;
            else
                begin
                    execute statement using %2$s;
                exception when serialization_failure then
                    -- settled after this transaction's snapshot; it is queued, so the worker clears it
                    null;
                end;
            end if;
        end loop;
    end if;$make$,
            v.id, (select string_agg('cleared.k' || i, ', ') from generate_series(1, cardinality(v.key_numbers)) as i)
        );
        -- A settle after the snapshot of a REPEATABLE READ transaction is invisible to it, or raises: then the worker,
        -- for which the row is gone as well, removes what was stored.
        try_gone := 'begin';
        leave_gone := $make$
        if current_setting('transaction_isolation') not like 'read%%' then
            execute pgsbert.enqueue_anew(%1$s, 'requeue %2$s');
        end if;
    exception when serialization_failure then
        for cleared in execute pgsbert.enqueue_anew(%1$s, 'gone %2$s') loop
            perform pgsbert.leave_to_worker(%1$s, cleared.key);
        end loop;
    end;
    if current_setting('transaction_isolation') not like 'read%%' then
        perform pgsbert.wake();
    end if;$make$;
    end if;
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_insert', v.id), '', format($body$
declare
    statement text;
    queued bigint;
begin
    if %2$s then
        %3$s;
        get diagnostics queued = row_count;
        -- one expression where a worker is awake: each costs every transaction anew
        if queued = 200 or queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
            if queued = 200 then
                begin
                    %4$s;
                exception when unique_violation then
                    %5$s;
                end;
            else
                perform pg_advisory_unlock_shared(1885827938, 1);
            end if;
            perform pgsbert.wake();
        end if;
        return null;
    end if;
    %6$s
    statement := pgsbert.enqueue_anew(%1$s, 'insert');
    if statement is not null then
        execute statement;
        perform pgsbert.wake();
    end if;
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_sql(v, 'insert_first'), pgsbert.enqueue_sql(v, 'insert_rest'),
        pgsbert.enqueue_sql(v, 'insert_rest_again'), if_foreign));
    -- A plan is kept for the session, made for the row count of its first statement: a nested loop chosen for one
    -- row would then serve twenty thousand. Hash joins serve both.
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_update', v.id), 'set enable_nestloop = off', format($body$
declare
    statement text;
    queued bigint;
    gone bigint;
    cleared record;
begin
    if %2$s then
        %3$s into queued, gone;
    else
        %8$s
        statement := pgsbert.enqueue_anew(%1$s, 'update');
        if statement is null then
            return null;
        end if;
        execute statement into queued, gone;
    end if;
    if gone > 0 then
        statement := pgsbert.enqueue_anew(%1$s, 'rekey');
        if statement is not null then
            %5$s
            execute statement;
            %6$s
            -- a row that took another's key may have its text and yet no vector: queue them all
            execute pgsbert.enqueue_anew(%1$s, 'insert');
        end if;
    end if;
    %4$s
    %7$s
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_sql(v, 'update'), clear_side, try_gone, format(leave_gone, v.id, 'rekey'), wake, if_foreign));
    -- Here the kept plan must probe the queue by key for every row, be the queue empty or huge.
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_delete', v.id), 'set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off', format($body$
declare
    statement text;
    cleared record;
begin
    %4$s
    if %2$s then
        %3$s;
    else
        %6$s
        statement := pgsbert.enqueue_anew(%1$s, 'delete');
        if statement is null then
            return null;
        end if;
        execute statement;
    end if;
    %5$s
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_sql(v, 'delete'), try_gone, format(leave_gone, v.id, 'delete'), if_foreign));
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_truncate', v.id), '', format($body$
declare
    statement text;
begin
    if %2$s then
        %3$s;
    else
        statement := pgsbert.enqueue_anew(%1$s, 'truncate');
        if statement is not null then
            execute statement;
        end if;
    end if;
    %4$s
    return null;
end;
$body$, v.id, case when v.side is null then 'true' else unmoved end, pgsbert.enqueue_sql(v, 'truncate'),
        -- the table is written anew, so the functions know it no more
        case when v.side is null then format('perform pgsbert.refit(%s);', v.id) else '' end));
    -- The vector column is set by the name it has now: reached only when WHEN found something to clear.
    perform pgsbert.make_trigger_function(v, format('clear_%s', v.id), '', pgsbert.clear_body(v));
    perform pgsbert.grant_to_owner(v);
end;
$$;
comment on function pgsbert.create_trigger_functions(pgsbert.vectorizer) is 'Makes the trigger functions of a vectorizer for its source as it is now';

create or replace function pgsbert.triggers_fit(v pgsbert.vectorizer) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- whole: the condition of a table that lost its first column is part of the old one
    select strpos(p.prosrc, format('if %s then', pgsbert.unmoved_sql(v))) > 0
        and (v.side is null or p.proowner = (select c.relowner from pg_class as c where c.oid = v.side))
    from pg_proc as p
    where p.oid = to_regprocedure(format('pgsbert.enqueue_%s_delete()', v.id))
);
comment on function pgsbert.triggers_fit(pgsbert.vectorizer) is 'Whether the trigger functions of a vectorizer would be made the same today; null where they were dropped';

create or replace function pgsbert.mend_triggers(v pgsbert.vectorizer, broken boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    unfit boolean := not broken and pgsbert.triggers_fit(v) is false;
begin
    if not unfit and pgsbert.owner_lacks_grants(v) is not true then
        return;
    end if;
    -- whoever drops the vectorizer, or mends it in another worker, holds its row
    perform from pgsbert.vectorizer as w where w.id = v.id for no key update skip locked;
    if found and unfit then
        perform pgsbert.create_trigger_functions(v);
    elsif found then
        perform pgsbert.grant_to_owner(v);
    end if;
exception when others then
    -- Somebody changes the same functions or grants, or this installer may not. Writers lose only time by it, and the
    -- next look tries again.
    raise log 'pgsbert: the trigger functions of vectorizer "%" were not made anew: %', v.name, sqlerrm;
end;
$$;
comment on function pgsbert.mend_triggers(pgsbert.vectorizer, boolean) is 'Makes the trigger functions of a vectorizer anew if its tables changed since: columns, key, place or owner';

create or replace function pgsbert.refit(vectorizer_id integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
begin
    select * into v from pgsbert.vectorizer as w where w.id = vectorizer_id;
    perform pgsbert.mend_triggers(v, broken => v.id is null or pgsbert.broken_by(v) is not null);
end;
$$;
comment on function pgsbert.refit(integer) is 'Part of TRUNCATE: makes the trigger functions know the table as it is written now';

create or replace function pgsbert.vectorizer_numbered(vectorizer_id integer) returns pgsbert.vectorizer
language sql stable security definer
set search_path = pg_catalog, pg_temp
return (select pgsbert.recognized(v) from pgsbert.vectorizer as v where v.id = vectorizer_id);
comment on function pgsbert.vectorizer_numbered(integer) is 'A vectorizer, for trigger functions that run with the rights of the table''s owner';

create or replace function pgsbert.leave_to_worker(vectorizer_id integer, key text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    pending regclass := to_regclass('pgsbert.pending_' || vectorizer_id);
    keys text;
    places text;
    statement text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    select
        string_agg('k' || k.place, ', ' order by k.place),
        string_agg(format('$1[%s]::%s', k.place, pgsbert.column_type(pending, k.place::smallint)), ', ' order by k.place)
    into keys, places
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k;
    foreach statement in array array[
        format('delete from %s where (%s) = (%s)', pending, keys, places),
        format(
            'delete from %s as t where %s', v.side,
            (select string_agg(format('t.%I %s $1[%s]::%s', a.attname, k.operator, k.place, pgsbert.column_type(pending, k.place::smallint)), ' and ')
             from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
             join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place)
        ),
        format('insert into %s (%s, revision) values (%s, nextval(''pgsbert.revision'')) on conflict (%s) do nothing', pending, keys, places, keys)
    ] loop
        begin
            execute statement using key;
        exception when serialization_failure then
            -- newer than the snapshot: already settled, or queued and the worker's to find
            null;
        end;
    end loop;
end;
$$;
comment on function pgsbert.leave_to_worker(integer, text[]) is 'Queues a key whose row is gone, where a REPEATABLE READ transaction may not remove its vector';
