-- What the system catalogs say about a source table: key, types, names. Nothing here writes.

create or replace function pgsbert.caller() returns oid
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select r.oid
    from pg_roles as r
    -- inside SECURITY DEFINER current_user is the owner; SET ROLE still shows in the setting
    where r.rolname = coalesce(nullif(current_setting('role'), 'none'), session_user)
);
comment on function pgsbert.caller() is 'The role that asks, seen from inside a SECURITY DEFINER function';

create or replace function pgsbert.column_type(source oid, number smallint) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    with recursive base as (
        select a.atttypid as type, a.atttypmod as typmod, a.attcollation as collation
        from pg_attribute as a
        where a.attrelid = source and a.attnum = number
        union all
        -- a domain's checks were passed in the source table; running them again in the queue could only fail
        select t.typbasetype, t.typtypmod, b.collation
        from base as b
        join pg_type as t on t.oid = b.type
        where t.typtype = 'd'
    )
    select format_type(b.type, b.typmod)
        || coalesce(' collate ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname), '')
    from base as b
    join pg_type as t on t.oid = b.type and t.typtype <> 'd'
    left join pg_collation as c on c.oid = b.collation and c.oid <> t.typcollation
    left join pg_namespace as n on n.oid = c.collnamespace;
end;
comment on function pgsbert.column_type(oid, smallint) is 'The type of a column as DDL: domains as their base type, collation where it is not the type''s own';

create or replace function pgsbert.text_of(source oid, number smallint, alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    with recursive base as (
        select a.atttypid as type from pg_attribute as a where a.attrelid = source and a.attnum = number
        union all
        select t.typbasetype from base as b join pg_type as t on t.oid = b.type where t.typtype = 'd'
    )
    -- A cast of a user's own type is the user's own code, and a trigger function runs with the installer's rights:
    -- the type's output function is not.
    select case
        when t.oid = 'bytea'::regtype then format('%s.c%s::bytea', alias, number)
        when t.typnamespace = 'pg_catalog'::regnamespace
            or exists (select from pg_depend as d where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
        then format('%s.c%s::text collate "C"', alias, number)
        else format('format(''%%s'', %s.c%s) collate "C"', alias, number)
    end
    from base as b
    join pg_type as t on t.oid = b.type and t.typtype <> 'd'
);
comment on function pgsbert.text_of(oid, smallint, text) is 'A column of a transition table as it is compared, byte by byte: text, or an image as it is; without running code of the table''s owner';

create or replace function pgsbert.content_of(source oid, number smallint, expression text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
-- an image as text would be twice as long, and an empty one not the empty text
return format(case when pgsbert.column_type(source, number) = 'bytea' then '%s::bytea' else '%s::text collate "C"' end, expression);
comment on function pgsbert.content_of(oid, smallint, text) is 'A tracked column, named by an expression, as it is compared: byte by byte';

create or replace function pgsbert.image_column(source oid, numbers smallint[]) returns name
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select a.attname
    from unnest(numbers) with ordinality as u (number, place)
    join pg_attribute as a on a.attrelid = source and a.attnum = u.number and not a.attisdropped
    where pgsbert.column_type(source, u.number) = 'bytea'
    order by u.place
    limit 1
);
comment on function pgsbert.image_column(oid, smallint[]) is 'The first of these columns that holds images, which is any of type bytea; null if all hold text';

create or replace function pgsbert.most_image_bytes() returns integer
language sql immutable
set search_path = pg_catalog, pg_temp
return 32 * 1024 * 1024;
comment on function pgsbert.most_image_bytes() is 'The size of the largest image of a row that is embedded';

create or replace function pgsbert.readable_image(content bytea) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- its size is known without fetching it
    if octet_length(content) > pgsbert.most_image_bytes() then
        raise program_limit_exceeded using
            message = format('the image has %s bytes: at most %s are embedded', octet_length(content), pgsbert.most_image_bytes());
    end if;
    return content;
end;
$$;
comment on function pgsbert.readable_image(bytea) is 'An image for the worker; 54000 for one that is too large to be read';

create or replace function pgsbert.opclass_operator(opclass oid, strategy integer) returns oid
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select m.amopopr
    from pg_opclass as c
    join pg_amop as m on m.amopfamily = c.opcfamily and m.amopstrategy = strategy
                     and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
    where c.oid = opclass
);
comment on function pgsbert.opclass_operator(oid, integer) is 'An operator of a btree operator class: 3 is equality, 4 at least, 5 greater';

create or replace function pgsbert.default_opclass(opclass oid) returns oid
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select d.oid
    from pg_opclass as c
    join pg_opclass as d on d.opcmethod = c.opcmethod and d.opcintype = c.opcintype and d.opcdefault
    where c.oid = opclass
);
comment on function pgsbert.default_opclass(oid) is 'The operator class that the queue and ORDER BY use where a key''s index has this one';

create or replace function pgsbert.key_index(source oid) returns oid
language sql stable security definer
set search_path = pg_catalog, pg_temp
return (
    select i.indexrelid
    from pg_index as i
    where i.indrelid = source
      -- WITHOUT OVERLAPS is unique as well, by an operator that is no equality
      and i.indisunique and not i.indisexclusion and i.indisvalid and i.indimmediate
      and i.indpred is null and i.indexprs is null
      and not exists (
          select
          from unnest(i.indclass::oid[]) with ordinality as k(opclass, place)
          join pg_opclass as c on c.oid = k.opclass
          join pg_amop as m on m.amopfamily = c.opcfamily and m.amopstrategy = 3
                           and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
          join pg_operator as o on o.oid = m.amopopr
          where k.place <= i.indnkeyatts
            and case
                -- a trigger joins OLD and NEW by a FULL JOIN
                when not o.oprcanmerge and not o.oprcanhash then true
                -- keys that the index tells apart must not be equal in the queue
                when not c.opcdefault then o.oid is distinct from pgsbert.opclass_operator(pgsbert.default_opclass(c.oid), 3)
            end
      )
      and not exists (
          select
          from unnest(i.indkey::smallint[]) with ordinality as k(number, place)
          join pg_attribute as a on a.attrelid = source and a.attnum = k.number
          where k.place <= i.indnkeyatts
            and (
                not a.attnotnull or a.attgenerated = 'v'
                -- keys that the index tells apart must not be equal in the queue, which has the column's collation
                or i.indcollation[k.place - 1] <> a.attcollation
                and exists (select from pg_collation as c where c.oid = a.attcollation and not c.collisdeterministic)
            )
      )
    -- a primary key made later does not take the place of the key that a queue was made for
    order by exists (
        select
        from pgsbert.vectorizer as v
        where v.source = key_index.source
          and (pgsbert.recognized(v)).key_numbers = (i.indkey::smallint[])[:i.indnkeyatts - 1]
    ) desc, i.indisprimary desc, i.indnkeyatts, i.indexrelid
    limit 1
);
comment on function pgsbert.key_index(oid) is 'The key that a vectorizer of the table uses already, or its primary key, or else a unique index over NOT NULL columns that is neither deferrable nor partial';

create or replace function pgsbert.key_columns(index_oid oid)
returns table (place bigint, number smallint, name name, operator text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select k.place, k.number, a.attname, format('operator(%I.%s)', n.nspname, o.oprname)
    from pg_index as i
    cross join unnest(i.indkey::smallint[], i.indclass::oid[]) with ordinality as k(number, opclass, place)
    join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
    join pg_opclass as c on c.oid = k.opclass
    -- strategy 3 is equality in every btree operator family
    join pg_amop as m on m.amopfamily = c.opcfamily and m.amopstrategy = 3
                     and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
    join pg_operator as o on o.oid = m.amopopr
    join pg_namespace as n on n.oid = o.oprnamespace
    where i.indexrelid = index_oid and k.place <= i.indnkeyatts
    order by k.place;
end;
comment on function pgsbert.key_columns(oid) is 'Columns of a key with the equality operator its index uses, wherever that lives';

create or replace function pgsbert.key_order(index_oid oid) returns table (place bigint, greater text, at_least text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select k.place, format('operator(%I.%s)', n.nspname, g.oprname), format('operator(%I.%s)', n.nspname, l.oprname)
    from pg_index as i
    cross join unnest(i.indclass::oid[]) with ordinality as k(opclass, place)
    join pg_operator as g on g.oid = pgsbert.opclass_operator(pgsbert.default_opclass(k.opclass), 5)
    join pg_operator as l on l.oid = pgsbert.opclass_operator(pgsbert.default_opclass(k.opclass), 4)
    join pg_namespace as n on n.oid = g.oprnamespace
    where i.indexrelid = index_oid and k.place <= i.indnkeyatts
    order by k.place;
end;
comment on function pgsbert.key_order(oid) is 'The operators that ORDER BY goes by on the columns of a key, wherever they live';

create or replace function pgsbert.vector_type() returns regtype
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select t.oid::regtype
    from pg_extension as e
    join pg_depend as d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
    join pg_type as t on d.classid = 'pg_type'::regclass and d.objid = t.oid
    where e.extname = 'vector' and t.typname = 'vector'
);
comment on function pgsbert.vector_type() is 'The type vector, in whatever schema the extension lives now';

create or replace function pgsbert.vector_schema() returns name
language sql stable
set search_path = pg_catalog, pg_temp
return (select n.nspname from pg_type as t join pg_namespace as n on n.oid = t.typnamespace where t.oid = pgsbert.vector_type());
comment on function pgsbert.vector_schema() is 'Where the operators and operator classes of vector live';

create or replace function pgsbert.vectorizer_named(vectorizer_name text) returns pgsbert.vectorizer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer;
begin
    select * into v from pgsbert.vectorizer where name = vectorizer_name;
    if not found then
        raise exception using
            errcode = 'PB006',
            message = format('no vectorizer is called "%s"', vectorizer_name),
            hint = coalesce(
                'There are: ' || (select string_agg(name, ', ' order by name) from pgsbert.vectorizer) || '.',
                'There is none yet: make one with pgsbert.create_vectorizer.'
            );
    end if;
    return pgsbert.recognized(v);
end;
$$;
comment on function pgsbert.vectorizer_named(text) is 'The vectorizer of that name, or PB006';

create or replace function pgsbert.check_owner(source oid) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    owner oid := (select relowner from pg_class where oid = source);
begin
    if pg_has_role(pgsbert.caller(), owner, 'usage') is false then
        raise insufficient_privilege using
            message = format('must be owner of table %s', source::regclass),
            hint = format('Ask %I to do it, or to grant you that role.', pg_get_userbyid(owner));
    end if;
end;
$$;
comment on function pgsbert.check_owner(oid) is 'Raises 42501 unless the caller owns the table or is a member of its owner';
