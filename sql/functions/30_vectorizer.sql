-- How a vectorizer is made. The public functions run as the caller, who must own the table: triggers, column and
-- search function are made with the caller's own rights. What lives in schema pgsbert is made by SECURITY DEFINER
-- functions that check the owner again.

create or replace function pgsbert.register_vectorizer(
    source regclass, columns text[], template text, name text, model text, storage text, target text,
    distance text, index text, on_change text, on_truncate text
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
    perform pgsbert.check_images(source, numbers, template, m);
    perform pgsbert.check_option('storage', storage, array['column', 'table']);
    perform pgsbert.check_option('distance', distance, array['cosine', 'l2', 'inner_product']);
    perform pgsbert.check_option('index', index, array['hnsw', 'none']);
    perform pgsbert.check_option('on_change', on_change, array['keep', 'clear']);
    perform pgsbert.check_option('on_truncate', on_truncate, array['accept', 'refuse']);
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
        name, source, column_names, column_numbers, template, key_names, key_numbers, model, storage, target, distance, index_method, on_change, on_truncate, stamp
    )
    select
        register_vectorizer.name, source, columns, numbers, template,
        array_agg(k.name order by k.place), array_agg(k.number order by k.place),
        m.name, storage, target, distance, index, on_change, on_truncate, pgsbert.stamp(source)
    from pgsbert.key_columns(pgsbert.key_index(source)) as k
    returning w.* into v;
    perform pgsbert.drop_orphaned_queues(source, v.id);
    perform pgsbert.create_queue(v);
    return v;
end;
$$;
comment on function pgsbert.register_vectorizer(regclass, text[], text, text, text, text, text, text, text, text, text) is 'First step of create_vectorizer: checks everything, registers, makes the queue';

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
        select string_agg(format('coalesce(%s, '''') = ''''', pgsbert.content_of(v.source, number, format('new.%I', name))), ' and ')
        from unnest(v.column_names, v.column_numbers) as u (name, number)
    );
    changes text := (
        -- the same comparison as in enqueue_sql: what is cleared here must be queued there
        select string_agg(format('coalesce(%s, '''') <> coalesce(%s, '''')',
                                 pgsbert.content_of(v.source, number, format('new.%I', name)), pgsbert.content_of(v.source, number, format('old.%I', name))), ' or ')
        from unnest(v.column_names, v.column_numbers) as u (name, number)
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
    triggers text default null,
    on_truncate text default 'accept'
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
    v := pgsbert.register_vectorizer(source, columns, template, vectorizer_name, model, storage, target, distance, index, on_change, on_truncate);
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
comment on function pgsbert.create_vectorizer(regclass, text[], text, text, text, text, text, text, text, text, boolean, text, text) is 'Keeps an embedding of the columns of a table true from now on, existing rows included; returns the name of the vectorizer';

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
