-- The life of a vectorizer. The public functions run as the caller, who must own the table: triggers, column and
-- search function are made with the caller's own rights. What lives in schema pgsbert is made by SECURITY DEFINER
-- functions that check the owner again.

create or replace function pgsbert.check_source(source regclass) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    c pg_class;
begin
    select * into c from pg_class where oid = source;
    if not found then
        raise exception using errcode = 'PB007', message = format('no table has the oid %s', source::oid);
    elsif c.relispartition then
        raise exception using errcode = 'PB007',
            message = format('%s is a partition', source),
            hint = format('Make the vectorizer on the partitioned table: pgsbert.create_vectorizer(%L, ...).', pg_partition_root(source));
    elsif c.relkind not in ('r', 'p') then
        raise exception using errcode = 'PB007',
            message = format('%s is not a table', source),
            hint = 'A vectorizer needs a table: views, foreign tables and sequences have no triggers on rows.';
    elsif c.relpersistence = 't' then
        raise exception using errcode = 'PB007',
            message = format('%s is a temporary table: the worker cannot see it', source);
    elsif c.relkind = 'r' and exists (select from pg_inherits where inhrelid = source or inhparent = source) then
        raise exception using errcode = 'PB007',
            message = format('%s takes part in table inheritance: its triggers would miss rows', source);
    end if;
end;
$$;
comment on function pgsbert.check_source(regclass) is 'Raises PB007 for a relation whose changes triggers cannot follow';

create or replace function pgsbert.check_columns(source regclass, columns text[]) returns smallint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted text;
    found_column pg_attribute;
    numbers smallint[] := '{}';
begin
    if coalesce(cardinality(columns), 0) = 0 then
        raise exception using errcode = 'PB007',
            message = 'no columns to embed were given',
            hint = format(
                'Name them: pgsbert.create_vectorizer(%L, columns => ''{title,body}''), or say how the text is made of them: template => ''{title}: {body}''.',
                source::text
            );
    end if;
    foreach wanted in array columns loop
        select * into found_column
        from pg_attribute as a
        where a.attrelid = source and a.attname = wanted and a.attnum > 0 and not a.attisdropped;
        if not found then
            raise exception using errcode = 'PB007',
                message = format('table %s has no column "%s"', source, coalesce(wanted, 'NULL')),
                hint = coalesce('It has: ' || (
                    select string_agg(a.attname, ', ' order by a.attnum)
                    from pg_attribute as a
                    where a.attrelid = source and a.attnum > 0 and not a.attisdropped
                ) || '.', 'It has none.');
        elsif found_column.attgenerated = 'v' then
            raise exception using errcode = 'PB007',
                message = format('column "%s" of %s is a virtual generated column: triggers do not see its value', wanted, source),
                hint = 'Track the columns it is made from, or make it STORED.';
        elsif found_column.attnum = any (numbers) then
            raise exception using errcode = 'PB007', message = format('column "%s" was given twice', wanted);
        end if;
        numbers := numbers || found_column.attnum;
    end loop;
    return numbers;
end;
$$;
comment on function pgsbert.check_columns(regclass, text[]) is 'The attnums of the columns to embed, or PB007';

create or replace function pgsbert.read_template(template text, out columns text[], out by_position text)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    part text;
    wanted text;
begin
    columns := '{}';
    by_position := '';
    for part in select m[1] from regexp_matches(template, '\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+', 'g') as m loop
        if part in ('{', '}') then
            raise exception using errcode = 'PB007',
                message = format('the template has a brace without its partner after %L', by_position),
                hint = 'Write {column} for a column, and {{ or }} for a brace of the text.';
        elsif part like '{%}' then
            wanted := substr(part, 2, length(part) - 2);
            if wanted <> all (columns) then
                columns := columns || wanted;
            end if;
            -- a position among the tracked columns, so that a rename changes nothing
            part := '{' || array_position(columns, wanted) || '}';
        end if;
        by_position := by_position || part;
    end loop;
    if columns = '{}' then
        raise exception using errcode = 'PB007',
            message = 'the template names no column',
            hint = 'Write each as {column}: template => ''{title}: {body}''.';
    end if;
end;
$$;
comment on function pgsbert.read_template(text) is 'The columns of a template, and the template with {1} for the first of them; or PB007';

create or replace function pgsbert.bi_encoder_named(model_name text) returns pgsbert.model
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    m pgsbert.model;
begin
    select * into m
    from pgsbert.model
    where name = model_name or (model_name is null and is_default and kind = 'bi-encoder');
    if not found then
        raise exception using errcode = 'PB003',
            message = case when model_name is null then 'no default bi-encoder is registered'
                           else format('no model is registered as "%s"', model_name) end,
            hint = format('Register it: pgsbert model add %s', coalesce(model_name, 'all-MiniLM-L6-v2'));
    elsif m.kind <> 'bi-encoder' then
        raise exception using errcode = 'PB004',
            message = format('"%s" is a %s: an embedding needs a bi-encoder', m.name, m.kind);
    end if;
    return m;
end;
$$;
comment on function pgsbert.bi_encoder_named(text) is 'The registered bi-encoder of that name, the default for null; PB003 or PB004';

create or replace function pgsbert.check_target(source regclass, target text, model pgsbert.model) returns smallint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    a pg_attribute;
begin
    select * into a from pg_attribute where attrelid = source and attname = target and not attisdropped;
    if not found then
        return null;
    elsif a.atttypid <> pgsbert.vector_type() or a.atttypmod not in (-1, model.dimensions) then
        raise exception using errcode = 'PB007',
            message = format('column "%s" of %s is %s, and "%s" makes vector(%s)', target, source,
                             format_type(a.atttypid, a.atttypmod), model.name, model.dimensions),
            hint = 'Give another column with target =>, or another model with model =>.';
    elsif a.attgenerated <> '' then
        raise exception using errcode = 'PB007',
            message = format('column "%s" of %s is generated: nobody can write it', target, source);
    end if;
    return a.attnum;
end;
$$;
comment on function pgsbert.check_target(regclass, text, pgsbert.model) is 'The attnum of an existing vector column that fits the model, null if there is none; PB007 if it does not fit';

create or replace function pgsbert.check_option(option text, value text, allowed text[]) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if value is null or value <> all (allowed) then
        raise exception using errcode = 'PB007',
            message = format('%s => %s is not known', option, coalesce(quote_literal(value), 'NULL')),
            hint = format('It is one of: %s.', array_to_string(allowed, ', '));
    end if;
end;
$$;
comment on function pgsbert.check_option(text, text, text[]) is 'Raises PB007 for a value that is not allowed';

create or replace function pgsbert.register_vectorizer(
    source regclass, columns text[], template text, name text, model text, storage text, target text,
    distance text, index text, on_change text
) returns pgsbert.vectorizer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    m pgsbert.model;
    numbers smallint[];
    adopted smallint;
    v pgsbert.vectorizer;
    owner name := (select pg_get_userbyid(c.relowner) from pg_class as c where c.oid = source);
begin
    perform pgsbert.check_source(source);
    perform pgsbert.check_owner(source);
    m := pgsbert.bi_encoder_named(model);
    if template is not null then
        if columns is not null then
            raise exception using errcode = 'PB007',
                message = 'columns and template were both given',
                hint = 'Give one of them: a template names its columns itself.';
        end if;
        select t.columns, t.by_position into columns, template from pgsbert.read_template(template) as t;
    end if;
    numbers := pgsbert.check_columns(source, columns);
    perform pgsbert.check_option('storage', storage, array['column', 'table']);
    perform pgsbert.check_option('distance', distance, array['cosine', 'l2', 'inner_product']);
    perform pgsbert.check_option('index', index, array['hnsw', 'none']);
    perform pgsbert.check_option('on_change', on_change, array['keep', 'clear']);
    if target is null or target = '' or octet_length(target) > 63 then
        raise exception using errcode = 'PB007', message = 'target => must name a column, in at most 63 bytes';
    elsif name is null or name = '' or octet_length(name) > 63 then
        raise exception using errcode = 'PB007', message = 'name => must be 1 to 63 bytes long';
    elsif storage = 'table' and not pg_has_role(current_user, owner, 'usage') then
        raise exception using errcode = 'PB007',
            message = format('storage => ''table'' needs %I, which owns pgsbert, to be a member of %I, which owns %s', current_user, owner, source),
            hint = format('Have an administrator run: grant %2$I to %1$I; or use storage => ''column''.', current_user, owner);
    elsif pgsbert.key_index(source) is null then
        raise exception using errcode = 'PB007',
            message = format('table %s has no key that can name its rows', source),
            hint = 'Add a primary key, or a UNIQUE constraint over NOT NULL columns that is neither deferrable nor partial '
                'nor WITHOUT OVERLAPS, of types that can be sorted and hashed: a vector cannot.';
    elsif exists (select from pgsbert.vectorizer as other where other.name = register_vectorizer.name) then
        raise exception using errcode = 'PB007',
            message = format('a vectorizer is already called "%s"', name),
            hint = case
                when exists (
                    select
                    from pgsbert.vectorizer as other
                    join pg_class as c on c.oid = other.source
                    where other.name = register_vectorizer.name
                ) then 'Pass name => for a second one, or if_not_exists => true.'
                else format('Its table was dropped. First: select pgsbert.drop_vectorizer(%L).', name)
            end;
    elsif index = 'hnsw' and m.dimensions > 2000 then
        raise exception using errcode = 'PB007',
            message = format('"%s" has %s dimensions: an HNSW index on vector takes at most 2000', m.name, m.dimensions),
            hint = 'Pass index => ''none''.';
    end if;
    if storage = 'column' then
        adopted := pgsbert.check_target(source, target, m);
        if adopted = any (numbers) then
            raise exception using errcode = 'PB007', message = format('column "%s" cannot be tracked and hold the vector', target);
        elsif exists (
            select from pgsbert.vectorizer as other
            where other.source = register_vectorizer.source and other.storage = 'column'
              and (pgsbert.recognized(other)).target_number = adopted
        ) then
            raise exception using errcode = 'PB007',
                message = format('column "%s" of %s already belongs to another vectorizer', target, source),
                hint = 'Give another column with target =>.';
        end if;
    end if;
    if on_change = 'clear' and exists (
        select from pg_attribute as a where a.attrelid = source and a.attnum = any (numbers) and a.attgenerated <> ''
    ) then
        raise exception using errcode = 'PB007',
            message = 'on_change => ''clear'' cannot see generated columns before they are stored',
            hint = 'Use on_change => ''keep'', or track the columns they are made from.';
    end if;
    perform pgsbert.halt_index_builds(source);
    insert into pgsbert.vectorizer as w (
        name, source, column_names, column_numbers, template, key_names, key_numbers, model, storage, target, distance, index_method, on_change, stamp
    )
    select
        register_vectorizer.name, source, columns, numbers, template,
        array_agg(k.name order by k.place), array_agg(k.number order by k.place),
        m.name, storage, target, distance, index, on_change, pgsbert.stamp(source)
    from pgsbert.key_columns(pgsbert.key_index(source)) as k
    returning w.* into v;
    perform pgsbert.drop_orphaned_queues(source, v.id);
    perform pgsbert.create_queue(v);
    return v;
end;
$$;
comment on function pgsbert.register_vectorizer(regclass, text[], text, text, text, text, text, text, text, text) is 'First step of create_vectorizer: checks everything, registers, makes the queue';

create or replace function pgsbert.build_vectorizer(vectorizer_id integer, triggers text) returns pgsbert.vectorizer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
    source regclass := (select w.source from pgsbert.vectorizer as w where w.id = vectorizer_id);
begin
    perform pgsbert.check_owner(source);
    update pgsbert.vectorizer as w
    set target_number = (
            select a.attnum from pg_attribute as a
            where w.storage = 'column' and a.attrelid = w.source and a.attname = w.target and not a.attisdropped
        ),
        row_triggers = pgsbert.wants_row_triggers(w.source, triggers),
        partitions = pgsbert.leaf_partitions(w.source)
    where w.id = vectorizer_id
    returning w.* into v;
    perform pgsbert.create_trigger_functions(v);
    return v;
end;
$$;
comment on function pgsbert.build_vectorizer(integer, text) is 'Second step of create_vectorizer: trigger functions for the table with its vector column';

create or replace function pgsbert.create_triggers(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    -- named to sort after the table's own BEFORE triggers, which may rewrite the text
    prefix text := format('zzzz_pgsbert_%s', v.id);
    empties text := (
        select string_agg(format('coalesce(new.%I::text, '''') collate "C" = ''''', name), ' and ')
        from unnest(v.column_names) as name
    );
    changes text := (
        -- the same comparison as in enqueue_sql: what is cleared here must be queued there
        select string_agg(format('coalesce(new.%1$I::text collate "C", '''') <> coalesce(old.%1$I::text collate "C", '''')', name), ' or ')
        from unnest(v.column_names) as name
    );
    has_generated boolean := exists (
        select from pg_attribute as a
        where a.attrelid = v.source and a.attnum = any (v.column_numbers) and a.attgenerated <> ''
    );
begin
    if v.row_triggers then
        perform pgsbert.create_row_triggers(v, prefix);
    else
        execute format(
            'create trigger %I after insert on %s referencing new table as new_rows for each statement execute function pgsbert.enqueue_%s_insert()',
            prefix || '_insert', v.source, v.id
        );
        execute format(
            'create trigger %I after update on %s referencing new table as new_rows old table as old_rows for each statement execute function pgsbert.enqueue_%s_update()',
            prefix || '_update', v.source, v.id
        );
        execute format(
            'create trigger %I after delete on %s referencing old table as old_rows for each statement execute function pgsbert.enqueue_%s_delete()',
            prefix || '_delete', v.source, v.id
        );
    end if;
    execute format(
        'create trigger %I after truncate on %s for each statement execute function pgsbert.enqueue_%s_truncate()',
        prefix || '_truncate', v.source, v.id
    );
    if v.storage = 'column' and not has_generated then
        execute format(
            'create trigger %I before update on %s for each row when (new.%I is not null and %s) execute function pgsbert.clear_%s()',
            prefix || '_empty', v.source, v.target, empties, v.id
        );
        if v.on_change = 'clear' then
            execute format(
                'create trigger %I before update on %s for each row when (new.%I is not null and (%s)) execute function pgsbert.clear_%s()',
                prefix || '_clear', v.source, v.target, changes, v.id
            );
        end if;
    end if;
    if v.row_triggers then
        perform pgsbert.always_fire(v.source, prefix);
    end if;
end;
$$;
comment on function pgsbert.create_triggers(pgsbert.vectorizer) is 'Makes the triggers of a vectorizer on its source, with the caller''s rights';

create or replace function pgsbert.limit_lock_waits() returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    found_setting text := current_setting('lock_timeout');
begin
    -- Behind a waiting ALTER TABLE everybody queues who wants the table, readers too. Whoever set a limit knows why.
    if found_setting = '0' then
        perform set_config('lock_timeout', '3s', true);
    end if;
    return found_setting;
end;
$$;
comment on function pgsbert.limit_lock_waits() is 'Lets no lock be waited for longer than 3 s where the session has no lock_timeout; returns what it had';

create or replace function pgsbert.raise_held(source regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    holders text := (
        select string_agg(holder, ', ')
        from (
            select coalesce(
                format('process %s (%s%s)', a.pid, a.usename, ', in a transaction since ' || date_trunc('second', a.xact_start)),
                'a prepared transaction'
            ) as holder
            from (
                select distinct l.pid from pg_locks as l
                where l.locktype = 'relation' and l.relation = source and l.granted
                  and l.database = (select d.oid from pg_database as d where d.datname = current_database())
            ) as held
            left join pg_stat_activity as a on a.pid = held.pid
            where held.pid is distinct from pg_backend_pid()
            order by a.xact_start nulls last
            limit 3
        ) as first_three
    );
begin
    raise lock_not_available using
        message = format('%s is in use by another transaction, and nothing was changed', source),
        hint = coalesce('It is held by ' || holders || '. ', '')
            || 'Call again when that transaction has ended; SET lock_timeout = ''1min'' waits longer, and so do all who use the table meanwhile.';
end;
$$;
comment on function pgsbert.raise_held(regclass) is 'Raises 55P03 with who holds the table and what to do';

create or replace function pgsbert.create_vectorizer(
    source regclass,
    columns text[] default null,
    template text default null,
    name text default null,
    model text default null,
    storage text default 'column',
    target text default 'embedding',
    distance text default 'cosine',
    index text default 'hnsw',
    on_change text default 'keep',
    if_not_exists boolean default false,
    triggers text default null
) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    vectorizer_name text;
    v pgsbert.vectorizer;
    update_triggers text;
    lock_timeout_before text;
begin
    if source is null then
        raise exception using errcode = 'PB007', message = 'source must be a table, not NULL';
    end if;
    vectorizer_name := coalesce(name, (select c.relname from pg_class as c where c.oid = source));
    if if_not_exists and pgsbert.vectorizer_exists(vectorizer_name, source) then
        raise notice 'vectorizer "%" already exists, skipping', vectorizer_name;
        return vectorizer_name;
    end if;
    lock_timeout_before := pgsbert.limit_lock_waits();
    v := pgsbert.register_vectorizer(source, columns, template, vectorizer_name, model, storage, target, distance, index, on_change);
    perform pgsbert.drop_orphans(v);
    if storage = 'table' then
        perform pgsbert.create_side(v);
    else
        if not exists (select from pg_attribute as a where a.attrelid = source and a.attname = target and not a.attisdropped) then
            execute format(
                'alter table %s add column %I %s(%s)',
                source, target, pgsbert.vector_type(), (pgsbert.bi_encoder_named(v.model)).dimensions
            );
        end if;
        select string_agg(quote_ident(t.tgname), ', ') into update_triggers
        from pg_trigger as t
        join pg_proc as p on p.oid = t.tgfoid
        where t.tgrelid = source and not t.tgisinternal and t.tgtype::int & 16 = 16
          and p.pronamespace <> 'pgsbert'::regnamespace;
        if update_triggers is not null then
            raise notice 'storing a vector is an UPDATE of %, so its update triggers will run for it: %', source, update_triggers
                using hint = 'With storage => ''table'' they do not.';
        end if;
    end if;
    v := pgsbert.build_vectorizer(v.id, triggers);
    perform pgsbert.create_triggers(v);
    perform pgsbert.grant_to_worker(v);
    perform pgsbert.create_search(v);
    perform pgsbert.announce();
    perform set_config('lock_timeout', lock_timeout_before, true);
    return vectorizer_name;
exception when lock_not_available then
    perform pgsbert.raise_held(source);
end;
$$;
comment on function pgsbert.create_vectorizer(regclass, text[], text, text, text, text, text, text, text, text, boolean, text) is 'Keeps an embedding of the columns of a table true from now on, existing rows included; returns the name of the vectorizer';

create or replace function pgsbert.vectorizer_exists(vectorizer_name text, source regclass) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    other pgsbert.vectorizer;
begin
    select * into other from pgsbert.vectorizer as w where w.name = vectorizer_name;
    if not found then
        return false;
    elsif other.source <> vectorizer_exists.source then
        raise exception using errcode = 'PB007',
            message = format('vectorizer "%s" exists, for another table: %s', vectorizer_name, other.source),
            hint = 'Pass name => for this one.';
    end if;
    return true;
end;
$$;
comment on function pgsbert.vectorizer_exists(text, regclass) is 'Whether the vectorizer is there; PB007 if it is another table''s';

create or replace function pgsbert.grant_to_worker(v pgsbert.vectorizer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    readable text := (
        select string_agg(distinct quote_ident(name), ', ')
        from unnest(v.column_names || v.key_names || v.target) as name
        where v.storage = 'column' or name <> v.target
    );
    source_schema name := (select n.nspname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.oid = v.source);
begin
    execute format('grant select (%s) on %s to pgsbert_worker', readable, v.source);
    if v.storage = 'column' then
        execute format('grant update (%I) on %s to pgsbert_worker', v.target, v.source);
    end if;
    if not has_schema_privilege('pgsbert_worker', source_schema, 'usage') then
        if (select pg_has_role(current_user, n.nspowner, 'usage') from pg_namespace as n where n.nspname = source_schema) then
            execute format('grant usage on schema %I to pgsbert_worker', source_schema);
        else
            raise notice 'the worker cannot enter schema %', source_schema
                using hint = format('Its owner must run: grant usage on schema %I to pgsbert_worker', source_schema);
        end if;
    end if;
end;
$$;
comment on function pgsbert.grant_to_worker(pgsbert.vectorizer) is 'Gives the worker what one vectorizer needs: key and tracked columns to read, the vector to write';

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
    execute format('drop table if exists pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s', v.id);
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
