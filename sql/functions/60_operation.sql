-- Failures, and who may use what.

create or replace function pgsbert.queue_state()
returns table (id integer, pending bigint, failed bigint, oldest_pending timestamptz, passed bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer loop
        return query execute format(
            -- of a long queue only the first rows are looked at, for who asks may ask every second
            'select %1$s, case when count(*) <= 10000 then count(*) '
            'else greatest(count(*), pg_stat_get_live_tuples(''pgsbert.pending_%1$s''::regclass)) end, '
            '(select count(*) from pgsbert.lease_%1$s where failed_at is not null), '
            'min(queued_at), '
            'coalesce((select passed from pgsbert.fill_%1$s), 0) '
            'from (select queued_at from pgsbert.pending_%1$s limit 10001) as waiting',
            v.id
        );
    end loop;
end;
$$;
comment on function pgsbert.queue_state() is 'How many rows of each vectorizer wait (above 10,000 an estimate), how many were given up, and how many the first fill has passed';

create or replace function pgsbert.readable_vectorizers() returns setof pgsbert.vectorizer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select * from pgsbert.vectorizer as v
    -- keys and errors are about rows: for those who may read them; null where the table is gone
    where has_table_privilege(pgsbert.caller(), v.source, 'select') is not false
      and pgsbert.hidden_by(v.source, pg_get_userbyid(pgsbert.caller())) is null
    order by v.name;
end;
$$;
comment on function pgsbert.readable_vectorizers() is 'Vectorizers of whose rows the caller of a definer function may see the keys';

create or replace function pgsbert.queue_key(v pgsbert.vectorizer, alias text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (select string_agg(format('format(''%%s'', %s.k%s)', alias, i), ', ' order by i) from generate_series(1, cardinality(v.key_numbers)) as i);
comment on function pgsbert.queue_key(pgsbert.vectorizer, text) is 'The key columns of a queue table as a list of texts';

create or replace function pgsbert.failed_rows()
returns table (vectorizer text, key text[], attempts integer, error_class text, error text, failed_at timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in
        select * from pgsbert.readable_vectorizers()
    loop
        return query execute format(
            'select %L, array[%s], l.attempts, l.error_class, l.error, l.failed_at from pgsbert.lease_%s as l where l.failed_at is not null',
            v.name,
            pgsbert.queue_key(v, 'l'),
            v.id
        );
    end loop;
end;
$$;
comment on function pgsbert.failed_rows() is 'Rows that could not be embedded, with the reason, of tables that the caller may read';

create or replace function pgsbert.declared_vectorizers()
returns table (
    name text, schema_name name, table_name name, columns text[], template text, model text, is_default_model boolean, storage text,
    target name, distance text, index text, on_change text, on_truncate text, triggers text, side_schema_name name, side_name name
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select
        v.name, n.nspname, c.relname,
        case when v.template is null then tracked.names::text[] end,
        (
            select string_agg(case when m.found[1] ~ '^\{\d+\}$' then format('{%s}', tracked.names[trim('{}' from m.found[1])::integer]) else m.found[1] end, '' order by m.place)
            from regexp_matches(v.template, '\{\{|\}\}|\{\d+\}|[^{}]+', 'g') with ordinality as m (found, place)
        ),
        v.model, m.is_default, v.storage,
        case when v.storage = 'table' then v.target else coalesce(pgsbert.target_name(v), v.target) end,
        v.distance, v.index_method, v.on_change, v.on_truncate,
        case when v.row_triggers <> pgsbert.wants_row_triggers(v.source, null) then case when v.row_triggers then 'row' else 'statement' end end,
        sn.nspname, s.relname
    from pgsbert.vectorizer as stored
    cross join lateral pgsbert.recognized(stored) as v
    -- not those whose table was dropped
    join pg_class as c on c.oid = v.source
    join pg_namespace as n on n.oid = c.relnamespace
    join pgsbert.model as m on m.name = v.model
    cross join lateral pgsbert.names_of(v.source, v.column_numbers, v.column_names) as tracked (names)
    left join pg_class as s on s.oid = v.side
    left join pg_namespace as sn on sn.oid = s.relnamespace
    where has_any_column_privilege(pgsbert.caller(), v.source, 'select');
end;
$$;
comment on function pgsbert.declared_vectorizers() is 'What each vectorizer was made with, by the names of now: for pgsbert.vectorizers';

create or replace function pgsbert.truncated_counts() returns table (id integer, truncated bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer loop
        return query execute format(
            -- as in queue_state
            'select %1$s, case when count(*) <= 10000 then count(*) '
            'else greatest(count(*), pg_stat_get_live_tuples(''pgsbert.truncated_%1$s''::regclass)) end '
            'from (select from pgsbert.truncated_%1$s limit 10001) as cut',
            v.id
        );
    end loop;
end;
$$;
comment on function pgsbert.truncated_counts() is 'How many rows of each vectorizer have more tokens than its model takes; above 10,000 an estimate';

create or replace function pgsbert.truncated_rows() returns table (vectorizer text, key text[], tokens integer, max_tokens integer)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in
        select * from pgsbert.readable_vectorizers()
    loop
        return query execute format(
            'select %L, array[%s], t.tokens, m.max_tokens from pgsbert.truncated_%s as t, pgsbert.model as m where m.name = %L',
            v.name,
            pgsbert.queue_key(v, 't'),
            v.id, v.model
        );
    end loop;
end;
$$;
comment on function pgsbert.truncated_rows() is 'Rows whose texts have more tokens than the model takes, of tables that the caller may read';

create or replace function pgsbert.retry_failures(name text) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
    keys text := (select string_agg('k' || i, ', ') from generate_series(1, cardinality(v.key_numbers)) as i);
    retried bigint;
begin
    perform pgsbert.check_owner(v.source);
    execute format(
        'with again as (delete from pgsbert.lease_%1$s where failed_at is not null returning %2$s), '
        'queued as (insert into pgsbert.pending_%1$s (%2$s, revision) select %2$s, nextval(''pgsbert.revision'') from again '
        'on conflict (%2$s) do nothing) select count(*) from again',
        v.id, keys
    ) into retried;
    perform pgsbert.announce();
    return retried;
end;
$$;
comment on function pgsbert.retry_failures(text) is 'Queues the failed rows of a vectorizer again; returns how many';

create or replace function pgsbert.discard_failures(name text) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
    discarded bigint;
begin
    perform pgsbert.check_owner(v.source);
    execute format(
        'with gone as (delete from pgsbert.lease_%s where failed_at is not null returning 1) select count(*) from gone', v.id
    ) into discarded;
    return discarded;
end;
$$;
comment on function pgsbert.discard_failures(text) is 'Forgets the failed rows of a vectorizer, which stay without a vector; returns how many';

create or replace function pgsbert.has_index(v pgsbert.vectorizer) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return exists (
    select
    from pg_index as i
    join pg_class as ic on ic.oid = i.indexrelid
    join pg_am as am on am.oid = ic.relam and am.amname = 'hnsw'
    -- not pg_get_indexdef, which waits for a user's lock on the table
    join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    -- one for another distance may be left of another vectorizer, and serves no search of this one
    join pg_opclass as o on o.oid = i.indclass[0]
        and o.opcname = case v.distance when 'cosine' then 'vector_cosine_ops' when 'l2' then 'vector_l2_ops' else 'vector_ip_ops' end
    where i.indrelid = coalesce(v.side, v.source) and i.indisvalid and a.attname = pgsbert.target_name(v)
);
comment on function pgsbert.has_index(pgsbert.vectorizer) is 'Whether a valid HNSW index for its distance is on the vectors, whoever built it';

create or replace function pgsbert.functions_of(level text) returns setof regprocedure
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select p.oid::regprocedure
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace and n.nspname = 'pgsbert'
    where p.proname = any (array[
        'embed', 'embed_for', 'embed_image', 'similarity', 'rerank', 'classify', 'search', 'similar_to', 'vectors', 'document',
        -- what these call as their caller
        'document_expression', 'check_texts', 'image_column', 'column_type',
        'check_text', 'check_search', 'check_reranker', 'search_sql', 'similar_sql', 'vectors_sql', 'find_vectorizer', 'widen_scan', 'narrow_scan',
        'wait_until_synced', 'is_synced',
        -- what the views call: a view lends its tables, not its functions
        'queue_state', 'failed_rows', 'truncated_counts', 'truncated_rows', 'leaf_partitions', 'has_index', 'target_name', 'declared_vectorizers'
    ]) or level = 'operator' and p.proname = any (array[
        'create_vectorizer', 'drop_vectorizer', 'pause_vectorizer', 'resume_vectorizer', 'refresh', 'sweep', 'retry_failures', 'discard_failures',
        -- what these call as their caller
        'vectorizer_exists', 'is_vectorizer', 'register_vectorizer', 'build_vectorizer', 'unregister_vectorizer', 'register_side',
        'bi_encoder_named', 'check_owner', 'caller', 'create_triggers', 'create_row_triggers', 'always_fire', 'grant_to_worker', 'create_side', 'create_search', 'search_body',
        'drop_search', 'leave_table', 'worker_columns', 'is_ours', 'made_for', 'free_name', 'neighbors_sql', 'vector_key', 'key_columns', 'key_index', 'content_of', 'vector_type', 'vector_schema',
        'side_match', 'announce', 'limit_lock_waits', 'raise_held', 'orphans', 'drop_orphans'
    ]);
end;
comment on function pgsbert.functions_of(text) is 'The functions that a reader or an operator may execute';

create or replace function pgsbert.check_role(role text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if role is null or not exists (select from pg_roles where rolname = role) then
        raise exception using errcode = 'PB007', message = format('role "%s" does not exist', coalesce(role, 'NULL'));
    elsif role in ('pgsbert_worker', 'pgsbert_gateway') then
        raise exception using errcode = 'PB007',
            message = format('role "%s" has its rights from the installation', role),
            hint = 'Give usage to the roles that ask; a login is made a worker by: grant pgsbert_worker to it.';
    end if;
end;
$$;
comment on function pgsbert.check_role(text) is 'Raises PB007 for a role that usage cannot be given to or taken from';

create or replace function pgsbert.grant_usage(role text, level text default 'reader') returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    routine regprocedure;
begin
    perform pgsbert.check_option('level', level, array['reader', 'operator']);
    perform pgsbert.check_role(role);
    execute format('grant usage on schema pgsbert to %I', role);
    execute format('grant select on pgsbert.status, pgsbert.failures, pgsbert.truncated, pgsbert.vectorizers, pgsbert.workers, pgsbert.models to %I', role);
    for routine in select f from pgsbert.functions_of(level) as f loop
        execute format('grant execute on routine %s to %I', routine, role);
    end loop;
end;
$$;
comment on function pgsbert.grant_usage(text, text) is 'Lets a role search, embed, rerank and classify (reader), or also make and steer vectorizers of its own tables (operator)';

create or replace function pgsbert.revoke_usage(role text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgsbert.check_role(role);
    execute format('revoke all on all routines in schema pgsbert from %I', role);
    execute format('revoke all on all tables in schema pgsbert from %I', role);
    execute format('revoke all on all sequences in schema pgsbert from %I', role);
    execute format('revoke all on schema pgsbert from %I', role);
    -- what the triggers of its own side tables need is not usage
    perform pgsbert.grant_to_owner(v) from pgsbert.vectorizer as v;
end;
$$;
comment on function pgsbert.revoke_usage(text) is 'Takes back all that grant_usage gave';

create or replace function pgsbert.grant_usage_again() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    holder record;
begin
    for holder in
        -- by a function that no upgrade has dropped: create_vectorizer got parameters
        select r.rolname as role, case when bool_or(p.proname = 'drop_vectorizer') then 'operator' else 'reader' end as level
        from pg_proc as p
        cross join aclexplode(p.proacl) as a
        join pg_roles as r on r.oid = a.grantee
        where p.pronamespace = 'pgsbert'::regnamespace and p.proname in ('embed', 'drop_vectorizer') and a.grantee <> p.proowner
        group by r.rolname
    loop
        perform pgsbert.grant_usage(holder.role, holder.level);
    end loop;
end;
$$;
comment on function pgsbert.grant_usage_again() is 'After an upgrade: readers and operators may execute what is new';

create or replace function pgsbert.judge_vectorizers() returns table (name text, broken_reason text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
    gone text;
    reason text;
    worker name := (select r.rolname from pg_roles as r where r.oid = pgsbert.caller());
begin
    for v in select * from pgsbert.vectorizer loop
        v := pgsbert.recover(v);
        continue when v.id is null;
        gone := pgsbert.broken_by(v);
        perform pgsbert.mend_triggers(v, broken => gone is not null);
        reason := coalesce(gone, pgsbert.hidden_by(v.source, worker));
        continue when reason is not distinct from v.broken_reason;
        -- another worker may hold it, and finds the same
        perform from pgsbert.vectorizer as w where w.id = v.id for no key update skip locked;
        continue when not found;
        update pgsbert.vectorizer as w
        set broken_reason = reason,
            -- what changed while no statement could be made for the table was not queued: walk over it again
            filled_at = case when gone is null and v.broken_reason not like 'row security%' then null else w.filled_at end
        where w.id = v.id;
        if gone is null and v.broken_reason not like 'row security%' then
            execute format('delete from pgsbert.fill_%s', v.id);
        end if;
        return query select v.name, reason;
    end loop;
end;
$$;
comment on function pgsbert.judge_vectorizers() is 'Part of a worker''s look at the catalog: marks what is broken, and what is no longer; returns what changed';

create or replace function pgsbert.hidden_by(source oid, worker name) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return (
    select format('row security hides rows of %s from the worker''s role: alter role %I bypassrls', source::regclass, worker)
    from pg_class as c
    join pg_roles as r on r.rolname = worker
    where c.oid = source and c.relrowsecurity
      and not r.rolsuper and not r.rolbypassrls
      and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'usage'))
);
comment on function pgsbert.hidden_by(oid, name) is 'Why a worker does not see every row of a table: what it cannot see it must not take for deleted';
