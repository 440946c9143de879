-- Pieces of statements that name a vectorizer's tables and columns as they are called now.

create or replace function pgsbert.document_expression(v pgsbert.vectorizer, alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    with tracked as (
        select u.place, format('%s.%I::text collate "C"', alias, a.attname) as content
        from unnest(v.column_numbers) with ordinality as u (number, place)
        join pg_attribute as a on a.attrelid = v.source and a.attnum = u.number
    ), part as (
        select m.place, case m.found[1] when '{{' then '{' when '}}' then '}' else m.found[1] end as literal, t.content
        from regexp_matches(v.template, '\{\{|\}\}|\{\d+\}|[^{}]+', 'g') with ordinality as m (found, place)
        left join tracked as t on m.found[1] = '{' || t.place || '}'
    )
    select case
        when pgsbert.image_column(v.source, v.column_numbers) is not null then
            (select format('coalesce(pgsbert.readable_image(%s.%I::bytea), '''')', alias, a.attname)
             from pg_attribute as a where a.attrelid = v.source and a.attnum = v.column_numbers[1])
        when v.template is null then
            (select format('pg_catalog.concat_ws(E''\n'', %s)', string_agg(format('nullif(%s, '''')', content), ', ' order by place)) from tracked)
        else (
            -- what stands between the columns is no text of its own
            select format('case when %s then '''' else %s end', nothing, filled_in)
            from
                (select string_agg(format('coalesce(%s, '''') = ''''', content), ' and ' order by place) from tracked) as e (nothing),
                (select string_agg(coalesce('coalesce(' || content || ', '''')', quote_literal(literal)), ' || ' order by place) from part) as f (filled_in)
        )
    end;
end;
comment on function pgsbert.document_expression(pgsbert.vectorizer, text) is 'The text or image of a row as it is embedded';

create or replace function pgsbert.target_name(v pgsbert.vectorizer) returns name
language sql stable
set search_path = pg_catalog, pg_temp
return case
    when v.storage = 'table' then
        -- it comes after the key, whatever it is called
        (select attname from pg_attribute where attrelid = v.side and attnum = cardinality(v.key_numbers) + 1 and not attisdropped)
    else (select attname from pg_attribute where attrelid = v.source and attnum = v.target_number and not attisdropped)
end;
comment on function pgsbert.target_name(pgsbert.vectorizer) is 'What the vector column is called now';

create or replace function pgsbert.names_of(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return concat_ws(' ', v.source, v.side, (
    select array_agg(a.attname order by a.attrelid = v.source, a.attnum)
    from pg_attribute as a
    where not a.attisdropped
      and (a.attrelid = v.source and a.attnum = any (v.column_numbers || v.key_numbers || v.target_number)
           or a.attrelid = v.side and a.attnum between 1 and cardinality(v.key_numbers) + 1)
));
comment on function pgsbert.names_of(pgsbert.vectorizer) is 'What everything that a worker names is called now';

create or replace function pgsbert.check_names(vectorizer_id integer, names text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if (select pgsbert.names_of(v) from pgsbert.vectorizer as v where v.id = vectorizer_id) is distinct from names then
        raise undefined_column using
            message = format('something of vectorizer %s has another name now', vectorizer_id),
            -- tells it from what the table's own triggers lack
            schema = 'pgsbert';
    end if;
    return true;
end;
$$;
comment on function pgsbert.check_names(integer, text) is 'Raises 42703 unless everything is still called what a worker believes: names may have changed places';

create or replace function pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    -- the side table's key columns are its first, in the order of the key
    select string_agg(format('%s.%I %s %s.%I', source_alias, k.name, k.operator, side_alias, a.attname), ' and ' order by k.place)
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place
);
comment on function pgsbert.side_match(pgsbert.vectorizer, text, text) is 'The condition that a row of the side table belongs to a row of the source';

create or replace function pgsbert.vector_relation(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case
    when v.storage = 'table' then format('%s as t join %s as s on %s', v.side, v.source, pgsbert.side_match(v, 's', 't'))
    else format('%s as s', v.source)
end;
comment on function pgsbert.vector_relation(pgsbert.vectorizer) is 'FROM what a search reads: the source, with its side table where vectors are there';

create or replace function pgsbert.distance_expression(v pgsbert.vectorizer, other text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return format(
    '(%s.%I operator(%I.%s) %s)',
    case when v.storage = 'table' then 't' else 's' end,
    pgsbert.target_name(v),
    pgsbert.vector_schema(),
    case v.distance when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end,
    other
);
comment on function pgsbert.distance_expression(pgsbert.vectorizer, text) is 'The distance of a row to a vector, as the index of the vectorizer orders it';

create or replace function pgsbert.item_expression(v pgsbert.vectorizer) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case
    when pgsbert.image_column(v.source, v.column_numbers) is null then format('to_jsonb(s.*) - %L::text[]', array(
        select a.attname from pg_attribute as a where a.attrelid = v.source and a.atttypid = pgsbert.vector_type() and not a.attisdropped
    ))
    -- left out before, not after: an image is megabytes, and twice as long in jsonb
    else (
        select format('(select to_jsonb(item.*) from (select %s) as item)', string_agg(format('s.%I', a.attname), ', ' order by a.attnum))
        from pg_attribute as a
        where a.attrelid = v.source and a.attnum > 0 and not a.attisdropped
          and a.atttypid <> pgsbert.vector_type() and a.attnum <> all (v.column_numbers)
    )
end;
comment on function pgsbert.item_expression(pgsbert.vectorizer) is 'A row as jsonb, without its vectors and its image';
