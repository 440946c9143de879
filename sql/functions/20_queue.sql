-- The queue of a vectorizer: statements that record what must be embedded, made for the table as it is.
--
-- Transition tables are read by position: "new_rows as n(c1, c2, c4)" names every column after its attnum, so a
-- rename changes nothing. Dropping a column moves positions: the trigger function looks for that first, and then
-- runs the statement made anew instead of its own.

create or replace function pgsbert.wake() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('pgsbert.notify', true) = 'off' then
        return;
    end if;
    -- PREPARE TRANSACTION refuses a transaction that has notified: leave such servers to the poll
    if coalesce(nullif(current_setting('pgsbert.notify', true), ''), 'auto') = 'auto'
       and current_setting('max_prepared_transactions')::int > 0 then
        return;
    end if;
    -- An awake worker holds this lock exclusively and looks at the queue before it sleeps. Trying comes after the
    -- upsert, when this transaction has an xid the worker waits for; and never blocks, so that nobody queues here.
    if pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pg_notify('pgsbert', '');
    end if;
end;
$$;
comment on function pgsbert.wake() is 'Notifies workers unless one is awake';

create or replace function pgsbert.announce() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(nullif(current_setting('pgsbert.notify', true), ''), 'auto') <> 'off' then
        perform pg_notify('pgsbert_catalog', '');
        perform pg_notify('pgsbert', '');
    end if;
end;
$$;
comment on function pgsbert.announce() is 'Tells workers that vectorizers were made, changed or dropped';

create or replace function pgsbert.live_columns(v pgsbert.vectorizer) returns table (number smallint)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select a.attnum
    from pg_attribute as a
    where a.attrelid = v.source and a.attnum > 0 and not a.attisdropped
      and a.attnum <= (select max(needed) from unnest(v.column_numbers || v.key_numbers || v.target_number) as u(needed))
    order by a.attnum;
end;
comment on function pgsbert.live_columns(pgsbert.vectorizer) is 'Columns that a transition table shows, up to the last one needed';

create or replace function pgsbert.missing_column(v pgsbert.vectorizer) returns name
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select needed.name
    from unnest(v.column_numbers || v.key_numbers || v.target_number, v.column_names || v.key_names || v.target)
        as needed(number, name)
    where needed.number is not null
      and not exists (
          select
          from pg_attribute as a
          where a.attrelid = v.source and a.attnum = needed.number and not a.attisdropped
      )
    limit 1
);
comment on function pgsbert.missing_column(pgsbert.vectorizer) is 'A key, tracked or vector column that was dropped, or null';

create or replace function pgsbert.broken_by(v pgsbert.vectorizer) returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
return (
    select case
        when not exists (select from pg_class as c where c.oid = v.source) then
            format('the table of "%s" was dropped', v.name)
        when gone is not null then
            format('column "%s" of %s was dropped', gone, v.source)
        when v.stamp <> pgsbert.stamp(v.source) then
            format('%s was restored from another database, and no worker has looked at it since', v.source)
        when v.side is not null and not exists (select from pg_class as c where c.oid = v.side) then
            format('the table with the vectors of %s was dropped', v.source)
        when v.side is not null and (
            select count(*) from pg_attribute as a
            where a.attrelid = v.side and a.attnum between 1 and cardinality(v.key_numbers) + 1 and not a.attisdropped
        ) <= cardinality(v.key_numbers) then
            format('a column of %s was dropped', v.side)
        when pgsbert.image_column(v.source, v.column_numbers) is not null and (
            cardinality(v.column_numbers) > 1 or v.template is not null
            or not exists (select from pgsbert.model as m where m.name = v.model and 'image' = any (m.modalities))
        ) then
            format('column "%s" of %s is bytea: an image is embedded alone, by a model that takes images', pgsbert.image_column(v.source, v.column_numbers), v.source)
        when array(select k.number from pgsbert.key_columns(pgsbert.key_index(v.source)) as k) <> v.key_numbers then
            format('%s has no unique key over NOT NULL columns (%s) any more', v.source, array_to_string(v.key_names, ', '))
        else (
            -- the queue has the key in the types of the day it was made
            select format('key column "%s" of %s is %s now and was %s: drop the vectorizer and create it again', k.name, v.source, k.now, k.queued)
            from (
                select u.name, pgsbert.column_type(v.source, u.number) as now,
                    pgsbert.column_type(to_regclass('pgsbert.pending_' || v.id), u.place::smallint) as queued
                from unnest(v.key_names, v.key_numbers) with ordinality as u(name, number, place)
            ) as k
            where k.now <> k.queued
            limit 1
        )
    end
    from pgsbert.missing_column(v) as gone
);
comment on function pgsbert.broken_by(pgsbert.vectorizer) is 'Why rows of a vectorizer cannot be embedded any more, or null';

create or replace function pgsbert.side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- the side table's key columns are its first, in the order of the key
    select string_agg(format('%s.%I %s %s.c%s', side_alias, a.attname, k.operator, transition_alias, k.number), ' and ' order by k.place)
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place
);
comment on function pgsbert.side_match_by_number(pgsbert.vectorizer, text, text) is 'The condition that a row of the side table belongs to a row of a transition table';

create or replace function pgsbert.enqueue_sql(v pgsbert.vectorizer, operation text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    pending text := format('pgsbert.pending_%s', v.id);
    columns text := (select string_agg('c' || number, ', ') from pgsbert.live_columns(v));
    key_count int := cardinality(v.key_numbers);
    keys text := (select string_agg('k' || i, ', ') from generate_series(1, key_count) as i);
    new_keys text := (select string_agg('n.c' || number, ', ' order by i) from unnest(v.key_numbers) with ordinality as k(number, i));
    as_keys text := (
        select string_agg(format('n.c%s as k%s', number, i), ', ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    );
    gone text;
    named_keys text := (
        select string_agg(format('n.c%1$s as new_%2$s, o.c%1$s as old_%2$s', number, i), ', ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    );
    same_key text := (
        select string_agg(format('o.c%s %s n.c%s', k.number, k.operator, k.number), ' and ' order by k.place)
        from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    );
    has_text text := (
        -- null where there is none; comparing with '' does not fetch a toasted text, since the lengths differ
        select string_agg(format('%s <> ''''', pgsbert.text_of(v.source, number, 'n')), ' or ' order by i)
        from unnest(v.column_numbers) with ordinality as c(number, i)
    );
    -- a vector that came with a row without text must go; the worker takes it
    is_wanted text := has_text || coalesce(' or n.c' || v.target_number || ' is not null', '');
    has_key text := case when (select indisprimary from pg_index where indexrelid = pgsbert.key_index(v.source)) then 'true' else (
        -- NOT NULL may be dropped from a unique column: such a row cannot be named, and its writer must not fail
        -- (IS NOT NULL would be false for a composite with one null in it)
        select string_agg(format('n.c%s is distinct from null', number), ' and ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    ) end;
    changed text := (
        -- bytes decide: a collation may call different texts equal; NULL and '' are the same text to us
        select string_agg(
            format(
                'coalesce(%s, '''') <> coalesce(%s, '''')',
                pgsbert.text_of(v.source, number, 'n'), pgsbert.text_of(v.source, number, 'o')
            ),
            ' or ' order by i
        )
        from unnest(v.column_numbers) with ordinality as c(number, i)
    );
    dequeue text := format(
        'delete from %s as p using %%s where %s',
        pending,
        (select string_agg(format('p.k%s %s o.c%s', k.place, k.operator, k.number), ' and ' order by k.place)
         from pgsbert.key_columns(pgsbert.key_index(v.source)) as k)
    );
    upsert text := format('on conflict (%s) do update set revision = excluded.revision', keys);
    dequeue_side text := '';
    old_keys text := (select string_agg('o.c' || number, ', ' order by i) from unnest(v.key_numbers) with ordinality as k(number, i));
    key_texts text := (
        select string_agg(format('format(''%%s'', o.c%s)', number), ', ' order by i) from unnest(v.key_numbers) with ordinality as k(number, i)
    );
begin
    if operation like 'row %' then
        return pgsbert.enqueue_row_sql(v, operation, '($1)');
    elsif operation like '%rekey' then
        gone := format(
            '(select o.* from old_rows as o(%s) where not exists (select from new_rows as n(%s) where %s)) as o',
            columns, columns, same_key
        );
    elsif operation like '%delete' then
        gone := format('old_rows as o(%s)', columns);
    end if;
    if v.side is not null then
        dequeue_side := format('; delete from %s as t using %s where %s', v.side, gone, pgsbert.side_match_by_number(v, 't', 'o'));
    end if;
    case operation
    when 'insert' then
        return format(
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from new_rows as n(%s) where (%s) and %s %s',
            pending, keys, new_keys, columns, is_wanted, has_key, upsert
        );
    when 'insert_first' then
        return format(
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from new_rows as n(%s) where (%s) and %s limit 200 %s',
            pending, keys, new_keys, columns, is_wanted, has_key, upsert
        );
    when 'insert_rest' then
        -- a key that was just inserted is hardly ever queued already, and a plain insert costs two thirds
        return format(
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from new_rows as n(%s) where (%s) and %s offset 200',
            pending, keys, new_keys, columns, is_wanted, has_key
        );
    when 'insert_rest_again' then
        return pgsbert.enqueue_sql(v, 'insert_rest') || ' ' || upsert;
    when 'update' then
        return format(
            'with diff as materialized ('
            'select %s from new_rows as n(%s) full join old_rows as o(%s) on %s '
            'where n.c%s is not distinct from null or %s'
            '), queued as ('
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from diff where %s %s returning 1'
            ') select (select count(*) from queued), (select count(*) from diff where new_1 is not distinct from null)',
            named_keys, columns, columns, same_key,
            v.key_numbers[1], changed,
            pending, keys, (select string_agg('new_' || i, ', ') from generate_series(1, key_count) as i),
            (select string_agg(format('new_%s is distinct from null', i), ' and ') from generate_series(1, key_count) as i), upsert
        );
    when 'requeue rekey', 'requeue delete' then
        return format(
            'insert into %s (%s, revision) select %s, nextval(''pgsbert.revision'') from %s on conflict (%s) do nothing',
            pending, keys, old_keys, gone, keys
        );
    when 'requeue side' then
        return format(
            'insert into %s (%s, revision) select %s, nextval(''pgsbert.revision'') from %s as t on conflict (%s) do nothing',
            pending, keys,
            (select string_agg(format('t.%I', a.attname), ', ' order by a.attnum) from pg_attribute as a where a.attrelid = v.side and a.attnum between 1 and key_count),
            v.side, keys
        );
    when 'gone rekey', 'gone delete' then
        return format('select array[%s] as key from %s', key_texts, gone);
    when 'unside' then
        return format(
            'delete from %s as t where %s', v.side,
            (select string_agg(format('t.%I %s $%s', a.attname, k.operator, k.place), ' and ' order by k.place)
             from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
             join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place)
        );
    when 'rekey', 'delete' then
        return format(dequeue, gone) || dequeue_side;
    when 'truncate' then
        -- DELETE: a TRUNCATE of the side table would deadlock with an index that is being built on it
        return format('delete from %s', pending) || case when v.side is not null then format('; delete from %s', v.side) else '' end;
    when 'cleared' then
        -- keys whose vector must go in the user's own transaction
        if v.on_change = 'clear' then
            return format(
                'select %s from new_rows as n(%s) join old_rows as o(%s) on %s where %s',
                as_keys, columns, columns, same_key, changed
            );
        end if;
        return format('select %s from new_rows as n(%s) where (%s) is not true', as_keys, columns, has_text);
    end case;
end;
$$;
comment on function pgsbert.enqueue_sql(pgsbert.vectorizer, text) is 'The statement a trigger runs on insert, update, rekey, delete or truncate of the source as it is now';

create or replace function pgsbert.enqueue_anew(vectorizer_id integer, operation text) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    reason text;
begin
    select * into v from pgsbert.vectorizer where id = vectorizer_id;
    if not found then
        -- a dump of the schema alone was restored: the triggers are there, and what they served is not
        return null;
    end if;
    v := pgsbert.recognized(v);
    reason := pgsbert.broken_by(v);
    if reason is not null then
        -- the user's write goes on; what cannot be embedded any more is said in pgsbert.status
        -- and nobody waits for this mark, nor fails by it: workers look as well
        if current_setting('transaction_isolation') like 'read%' then
            perform from pgsbert.vectorizer as w where w.id = v.id and w.broken_reason is null for no key update skip locked;
            if found then
                perform pgsbert.mark_broken(v.id, reason);
            end if;
        end if;
        return null;
    end if;
    if v.side is not null and not has_table_privilege(pgsbert.trigger_owner(v), v.side, 'delete') then
        -- the side table was given to another, and the functions not yet: the worker removes what must go
        case operation
        when 'unside', 'cleared' then
            return null;
        when 'rekey', 'delete' then
            return pgsbert.enqueue_sql(v, 'requeue ' || operation);
        when 'truncate' then
            execute pgsbert.enqueue_sql(v, 'requeue side');
            return null;
        else
            v.side := null;
        end case;
    end if;
    return pgsbert.enqueue_sql(v, operation);
end;
$$;
comment on function pgsbert.enqueue_anew(integer, text) is 'The statement for a table whose columns moved since the trigger functions were made; null, and broken, if a needed one is gone';

create or replace function pgsbert.mark_broken(vectorizer_id integer, reason text) returns void
language sql
set search_path = pg_catalog, pg_temp
begin atomic
    update pgsbert.vectorizer
    set broken_reason = reason
    where id = vectorizer_id and broken_reason is distinct from reason;
end;
comment on function pgsbert.mark_broken(integer, text) is 'Stops the claims of a vectorizer and says why in pgsbert.status';

create or replace function pgsbert.create_queue(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    key_definition text := (
        select string_agg(format('k%s %s not null', i, pgsbert.column_type(v.source, number)), ', ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    );
    keys text := (select string_agg('k' || i, ', ') from generate_series(1, cardinality(v.key_numbers)) as i);
begin
    -- Users write this one; workers only lock and delete. A worker's update would make users' REPEATABLE READ fail.
    execute format(
        'create table pgsbert.pending_%1$s ('
        '%2$s, revision bigint not null, queued_at timestamptz not null default now(), '
        'constraint pending_%1$s_pkey primary key (%3$s))',
        v.id, key_definition, keys
    );
    execute format('comment on table pgsbert.pending_%s is %L', v.id, 'Rows of ' || v.source::text || ' to embed');
    -- Workers only.
    execute format(
        'create table pgsbert.lease_%1$s ('
        '%2$s, revision bigint not null, worker integer, attempts integer not null default 1, '
        'deferred integer not null default 0, claimed_until timestamptz not null, '
        'error_class text, error text, failed_at timestamptz, '
        'constraint lease_%1$s_pkey primary key (%3$s))',
        v.id, key_definition, keys
    );
    execute format('create unique index lease_%1$s_revision on pgsbert.lease_%1$s (revision)', v.id);
    execute format('create index lease_%1$s_claimed_until on pgsbert.lease_%1$s (claimed_until) where failed_at is null', v.id);
    execute format('comment on table pgsbert.lease_%s is %L', v.id, 'Rows of ' || v.source::text || ' that a worker holds, waits to try again, or gave up');
    -- How far the walk over the existing rows has come: no row before the first range, then one, with their number.
    execute format('create table pgsbert.fill_%s (%s, passed bigint not null default 0)', v.id, key_definition);
    execute format('comment on table pgsbert.fill_%s is %L', v.id, 'The last key of ' || v.source::text || ' that the first fill has queued');
    -- Workers only: no row for a text that the model takes whole.
    execute format('create table pgsbert.truncated_%1$s (%2$s, tokens integer not null, constraint truncated_%1$s_pkey primary key (%3$s))', v.id, key_definition, keys);
    execute format('comment on table pgsbert.truncated_%s is %L', v.id, 'Rows of ' || v.source::text || ' whose texts have more tokens than the model takes');
    execute format('grant select, insert, update, delete on pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s, pgsbert.truncated_%1$s to pgsbert_worker', v.id);
end;
$$;
comment on function pgsbert.create_queue(pgsbert.vectorizer) is 'Makes pending_, lease_, fill_ and truncated_ of a vectorizer, with the key in its own types';
