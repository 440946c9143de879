-- Which database the numbers in a vectorizer's row belong to. A rename changes names and no number; a dump keeps names
-- and changes numbers. So both are stored, with a stamp: where it is this database's, the numbers hold, else the names.

create or replace function pgsbert.stamp(source oid) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select format('%s/%s/%s', s.system_identifier, d.oid, source)
    from pg_control_system() as s
    cross join pg_database as d
    where d.datname = current_database()
);
comment on function pgsbert.stamp(oid) is 'Which cluster, database and table the column numbers of a vectorizer belong to';

create or replace function pgsbert.numbers_of(relation oid, names name[]) returns smallint[]
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- 0 for a name that is not there: no column has that number
    select array_agg(coalesce(a.attnum, 0::smallint) order by u.place)
    from unnest(names) with ordinality as u (name, place)
    left join pg_attribute as a on a.attrelid = relation and a.attname = u.name and a.attnum > 0 and not a.attisdropped
);
comment on function pgsbert.numbers_of(oid, name[]) is 'The attnums of columns by name, 0 where there is none';

create or replace function pgsbert.names_of(relation oid, numbers smallint[], known name[]) returns name[]
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- a dropped column keeps the name it had
    select array_agg(coalesce(a.attname, u.name) order by u.place)
    from unnest(numbers, known) with ordinality as u (number, name, place)
    left join pg_attribute as a on a.attrelid = relation and a.attnum = u.number and not a.attisdropped
);
comment on function pgsbert.names_of(oid, smallint[], name[]) is 'The names of columns by attnum, the known one where a column was dropped';

create or replace function pgsbert.recognized(v pgsbert.vectorizer) returns pgsbert.vectorizer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if v.stamp <> pgsbert.stamp(v.source) then
        v.column_numbers := pgsbert.numbers_of(v.source, v.column_names);
        v.key_numbers := pgsbert.numbers_of(v.source, v.key_names);
        if v.storage = 'column' then
            v.target_number := (pgsbert.numbers_of(v.source, array[v.target]))[1];
        end if;
        -- with a name that is not there it stays a stranger, until the table has it
        if 0 <> all (v.column_numbers || v.key_numbers || coalesce(v.target_number, 1::smallint)) then
            v.stamp := pgsbert.stamp(v.source);
        end if;
    end if;
    return v;
end;
$$;
comment on function pgsbert.recognized(pgsbert.vectorizer) is 'A vectorizer with the numbers that hold in this database, also where it was restored and no worker has looked yet';
