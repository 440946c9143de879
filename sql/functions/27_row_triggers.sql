-- Row mode: triggers for each row instead of each statement. On a partitioned table they are cloned to every partition,
-- and see what is written there directly, rows that move, and MERGE; and the apply process of a subscription fires them.
--
-- WHEN decides which rows matter: it is kept by column number, in each partition by its own, so that renames, the order
-- of columns and drops change nothing. The function needs no more than the key, which it finds by name: OLD and NEW are
-- rows of the partition, whose numbers are others. Names are those of the day the function was made, so it looks first
-- whether the key still has them.

create or replace function pgsbert.leaf_partitions(source oid) returns regclass[]
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- not pg_partition_tree, which waits for a user's lock on any partition
    with recursive part as (
        select i.inhrelid as oid from pg_inherits as i join pg_class as c on c.oid = i.inhparent and c.relkind = 'p' where i.inhparent = source
        union all
        select i.inhrelid from part as p join pg_class as c on c.oid = p.oid and c.relkind = 'p' join pg_inherits as i on i.inhparent = p.oid
    )
    select coalesce(array_agg(c.oid::regclass order by c.oid), '{}') from part as p join pg_class as c on c.oid = p.oid and c.relkind <> 'p'
);
comment on function pgsbert.leaf_partitions(oid) is 'The partitions of a table that hold rows, at any depth; none for a plain table';

create or replace function pgsbert.wants_row_triggers(source regclass, triggers text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    is_partitioned boolean := (select c.relkind = 'p' from pg_class as c where c.oid = source);
begin
    if triggers is null then
        return is_partitioned;
    end if;
    perform pgsbert.check_option('triggers', triggers, array['statement', 'row']);
    if triggers = 'statement' and is_partitioned then
        raise exception using errcode = 'PB007',
            message = format('%s is partitioned: its statement triggers do not see what is written to a partition', source),
            hint = 'Leave triggers => out, or pass ''row''.';
    end if;
    return triggers = 'row';
end;
$$;
comment on function pgsbert.wants_row_triggers(regclass, text) is 'Whether changes are to be found row by row; PB007 where they must be and should not';

create or replace function pgsbert.enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select case operation
        when 'row insert' then format(
            'insert into pgsbert.pending_%1$s (%2$s, revision) values (%3$s, nextval(''pgsbert.revision'')) '
            'on conflict (%2$s) do update set revision = excluded.revision',
            v.id, string_agg('k' || k.place, ', ' order by k.place),
            string_agg(format('%s.%I', row_alias, k.name), ', ' order by k.place)
        )
        when 'row requeue' then format(
            'insert into pgsbert.pending_%1$s (%2$s, revision) values (%3$s, nextval(''pgsbert.revision'')) on conflict (%2$s) do nothing',
            v.id, string_agg('k' || k.place, ', ' order by k.place),
            string_agg(format('%s.%I', row_alias, k.name), ', ' order by k.place)
        )
        when 'row delete' then format(
            'delete from pgsbert.pending_%s as p where %s',
            v.id, string_agg(format('p.k%s %s %s.%I', k.place, k.operator, row_alias, k.name), ' and ' order by k.place)
        )
        when 'row unside' then format(
            'delete from %s as t where %s',
            -- the side table's key columns are its first, in the order of the key
            v.side, string_agg(format('t.%I %s %s.%I', a.attname, k.operator, row_alias, k.name), ' and ' order by k.place)
        )
        when 'row key' then format(
            'select array[%s]', string_agg(format('format(''%%s'', %s.%I)', row_alias, k.name), ', ' order by k.place)
        )
    end
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    left join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place
);
comment on function pgsbert.enqueue_row_sql(pgsbert.vectorizer, text, text) is 'The statement a row trigger runs for one row, by the names of the key now: new, old, or a parameter';

create or replace function pgsbert.row_key_sql(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
-- With the installer's rights no code of the table's owner may run: neither a cast of a type that the key was given
-- since, nor on another table of theirs.
return format(
    '(tg_relid = %1$s or pg_partition_root(tg_relid) = %1$s) '
    'and (select count(*) from pg_attribute as a where a.attrelid = %1$s and (%2$s)) = %3$s',
    v.source::oid,
    (select string_agg(format('a.attnum = %s and a.attname = %L and a.atttypid = %s', k.number, k.name, a.atttypid), ' or ' order by k.place)
     from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
     join pg_attribute as a on a.attrelid = v.source and a.attnum = k.number),
    cardinality(v.key_numbers)
);
comment on function pgsbert.row_key_sql(pgsbert.vectorizer) is 'The condition that a row trigger fires for the vectorizer''s table, whose key is called what it was and has its type';

create or replace function pgsbert.row_unmoved_sql(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return pgsbert.row_key_sql(v) || pgsbert.side_unmoved_sql(v);
comment on function pgsbert.row_unmoved_sql(pgsbert.vectorizer) is 'The condition that the functions of row triggers made now would still fit their tables';

create or replace function pgsbert.create_row_trigger_functions(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    key_is_named text := pgsbert.row_key_sql(v);
    unmoved text := pgsbert.row_unmoved_sql(v);
    -- where that does not hold: a trigger of this table, or one that its owner made on another
    if_foreign text := case when v.side is null then format(
        'if not exists (select from pgsbert.vectorizer where id = %s and source in (tg_relid, pg_partition_root(tg_relid))) then return null; end if;', v.id
    ) else '' end;
    -- a worker that is awake costs neither a call nor a query; one call wakes for the whole transaction
    wake text := $make$
    if current_setting('pgsbert.woken', true) is distinct from '1' and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
        perform set_config('pgsbert.woken', '1', true);
    end if;$make$;
    probe text := 'set enable_seqscan = off';
begin
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_insert', v.id), '', format($body$
declare
    statement text;
begin
    if %2$s then
        %3$s;
    else
        %5$s
        statement := pgsbert.enqueue_anew(%1$s, 'row insert');
        if statement is null then
            return null;
        end if;
        execute statement using new;
    end if;
    %4$s
    return null;
end;
$body$, v.id, key_is_named, pgsbert.enqueue_row_sql(v, 'row insert', 'new'), wake, if_foreign));
    -- The kept plan must probe the queue by key, be it empty or huge.
    if v.side is null then
        perform pgsbert.make_trigger_function(v, format('enqueue_%s_delete', v.id), probe, format($body$
declare
    statement text;
begin
    if %2$s then
        %3$s;
    else
        %4$s
        statement := pgsbert.enqueue_anew(%1$s, 'row delete');
        if statement is not null then
            execute statement using old;
        end if;
    end if;
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_row_sql(v, 'row delete', 'old'), if_foreign));
        -- reached only when WHEN found something to clear
        perform pgsbert.make_trigger_function(v, format('clear_%s', v.id), '', pgsbert.clear_body(v));
    else
        perform pgsbert.make_trigger_function(v, format('enqueue_%s_delete', v.id), probe, format($body$
declare
    statement text;
    key text[];
begin
    if not (%2$s) then
        statement := pgsbert.enqueue_anew(%1$s, 'row key');
        if statement is not null then
            execute statement into key using old;
            perform pgsbert.leave_to_worker(%1$s, key);
        end if;
    elsif current_setting('transaction_isolation') like 'read%%' then
        %3$s;
        %4$s;
        return null;
    else
        -- A settle after this transaction's snapshot is invisible to it, or raises: then the worker, for which the row
        -- is gone as well, removes what was stored.
        begin
            %3$s;
            %4$s;
            %5$s;
        exception when serialization_failure then
            %6$s into key;
            perform pgsbert.leave_to_worker(%1$s, key);
        end;
    end if;
    %7$s
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_row_sql(v, 'row delete', 'old'), pgsbert.enqueue_row_sql(v, 'row unside', 'old'),
            pgsbert.enqueue_row_sql(v, 'row requeue', 'old'), pgsbert.enqueue_row_sql(v, 'row key', 'old'), wake));
        perform pgsbert.make_trigger_function(v, format('clear_%s', v.id), probe, format($body$
declare
    statement text;
begin
    if not (%2$s) then
        statement := pgsbert.enqueue_anew(%1$s, 'row unside');
        if statement is not null then
            begin
                execute statement using new;
            exception when serialization_failure then
                null;
            end;
        end if;
    elsif current_setting('transaction_isolation') like 'read%%' then
        %3$s;
    else
        begin
            %3$s;
        exception when serialization_failure then
            -- settled after this transaction's snapshot; it is queued, so the worker clears it
            null;
        end;
    end if;
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_row_sql(v, 'row unside', 'new')));
    end if;
    -- Of the whole table: TRUNCATE of one partition fires nothing here, and the worker finds the rows gone.
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_truncate', v.id), '', format($body$
declare
    statement text := pgsbert.enqueue_anew(%s, 'truncate');
begin
    if statement is not null then
        execute statement;
    end if;
    return null;
end;
$body$, v.id));
    perform pgsbert.grant_to_owner(v);
end;
$$;
comment on function pgsbert.create_row_trigger_functions(pgsbert.vectorizer) is 'Makes the functions of a vectorizer''s row triggers for its source as it is now';

create or replace function pgsbert.create_row_triggers(v pgsbert.vectorizer, prefix text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    has_text text := (
        select string_agg(format('%s <> ''''', pgsbert.content_of(v.source, number, format('new.%I', name))), ' or ')
        from unnest(v.column_names, v.column_numbers) as u (name, number)
    );
    changed text := (
        -- bytes decide: a collation may call different texts equal; NULL and '' are the same text to us
        select string_agg(format('coalesce(%s, '''') <> coalesce(%s, '''')',
                                 pgsbert.content_of(v.source, number, format('new.%I', name)), pgsbert.content_of(v.source, number, format('old.%I', name))), ' or ')
        from unnest(v.column_names, v.column_numbers) as u (name, number)
    );
    same_key text := (
        select string_agg(format('old.%1$I %2$s new.%1$I', k.name, k.operator), ' and ' order by k.place)
        from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    );
    -- NOT NULL may be dropped from a unique column: such a row cannot be named, and its writer must not fail
    has_key text := (
        select string_agg(format('new.%I is distinct from null', k.name), ' and ' order by k.place)
        from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    );
    -- a vector that came with a row without text must go; the worker takes it
    is_wanted text := has_text || case when v.storage = 'column' then format(' or new.%I is not null', v.target) else '' end;
    statement constant text := 'create trigger %I after %s on %s for each row when (%s) execute function pgsbert.%I()';
begin
    execute format(
        statement, prefix || '_insert', 'insert', v.source, format('(%s) and (%s)', has_key, is_wanted), format('enqueue_%s_insert', v.id)
    );
    -- in this order for each row, which is that of the names: the old key goes, then the new one comes
    execute format(statement, prefix || '_rekey', 'update', v.source, format('(%s) is not true', same_key), format('enqueue_%s_delete', v.id));
    -- a row that took another's key may have its text and yet no vector
    execute format(
        statement, prefix || '_update', 'update', v.source,
        format('(%s) and ((%s) is not true and (%s) or %s)', has_key, same_key, is_wanted, changed), format('enqueue_%s_insert', v.id)
    );
    execute format(statement, prefix || '_delete', 'delete', v.source, 'true', format('enqueue_%s_delete', v.id));
    if v.side is not null then
        execute format(
            statement, prefix || '_vanish', 'update', v.source,
            format('(%s)', changed) || case when v.on_change = 'keep' then format(' and (%s) is not true', has_text) else '' end,
            format('clear_%s', v.id)
        );
    end if;
end;
$$;
comment on function pgsbert.create_row_triggers(pgsbert.vectorizer, text) is 'Makes the row triggers of a vectorizer on its source, with the caller''s rights';

create or replace function pgsbert.always_fire(source regclass, prefix text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    name name;
begin
    -- the apply process of a subscription fires no others
    for name in select t.tgname from pg_trigger as t where t.tgrelid = source and starts_with(t.tgname::text, prefix || '_') loop
        execute format('alter table %s enable always trigger %I', source, name);
    end loop;
end;
$$;
comment on function pgsbert.always_fire(regclass, text) is 'Lets the triggers of a vectorizer fire for what a subscription applies too';
