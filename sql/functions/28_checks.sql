-- What create_vectorizer refuses, with the reason and the next step, before anything is made.

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

create or replace function pgsbert.check_images(source regclass, numbers smallint[], template text, model pgsbert.model) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    image name := pgsbert.image_column(source, numbers);
begin
    if image is null then
        return;
    elsif template is not null or cardinality(numbers) > 1 then
        raise exception using errcode = 'PB007',
            message = format('column "%s" of %s is bytea: an image is embedded alone, %s', image, source,
                             case when template is not null then 'not in a template' else 'not together with other columns' end),
            hint = format('Give it a vectorizer of its own, columns => ''{%s}'', and the text another one with the same model and another name.', image);
    elsif 'image' <> all (model.modalities) then
        raise exception using errcode = 'PB004',
            message = format('column "%s" of %s is bytea, and "%s" takes text only', image, source, model.name),
            hint = 'For images, register a model that takes them: pgsbert model add clip-ViT-B-32, and pass it as model =>. '
                'Text that is kept as bytea needs a generated column: convert_from(...) STORED.';
    end if;
end;
$$;
comment on function pgsbert.check_images(regclass, smallint[], text, pgsbert.model) is 'Raises PB007 for an image beside other columns or in a template, PB004 for one given to a model for text';

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
