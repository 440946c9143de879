-- Failures, and who may use what.

create or replace function pgsbert.queue_counts() returns table (id integer, pending bigint, failed bigint, oldest_pending timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer loop
        return query execute format(
            'select %1$s, (select count(*) from pgsbert.pending_%1$s), '
            '(select count(*) from pgsbert.lease_%1$s where failed_at is not null), '
            '(select min(queued_at) from pgsbert.pending_%1$s)',
            v.id
        );
    end loop;
end;
$$;
comment on function pgsbert.queue_counts() is 'How many rows of each vectorizer wait, and how many were given up';

create or replace function pgsbert.failed_rows()
returns table (vectorizer text, key text[], attempts integer, error_class text, error text, failed_at timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer order by name loop
        return query execute format(
            'select %L, array[%s], l.attempts, l.error_class, l.error, l.failed_at from pgsbert.lease_%s as l where l.failed_at is not null',
            v.name,
            (select string_agg(format('l.k%s::text', i), ', ') from generate_series(1, cardinality(v.key_numbers)) as i),
            v.id
        );
    end loop;
end;
$$;
comment on function pgsbert.failed_rows() is 'Rows that could not be embedded, with the reason';

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

create or replace function pgsbert.functions_of(level text) returns setof regprocedure
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select p.oid::regprocedure
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace and n.nspname = 'pgsbert'
    where p.proname = any (array[
        'embed', 'embed_for', 'similarity', 'rerank', 'search', 'similar_to',
        -- what these call as their caller
        'check_text', 'check_search', 'check_reranker', 'search_sql', 'similar_sql', 'find_vectorizer', 'widen_scan', 'narrow_scan',
        'wait_until_synced', 'is_synced'
    ]) or level = 'operator' and p.proname = any (array[
        'create_vectorizer', 'drop_vectorizer', 'pause_vectorizer', 'resume_vectorizer', 'refresh', 'retry_failures', 'discard_failures',
        -- what these call as their caller
        'vectorizer_exists', 'is_vectorizer', 'register_vectorizer', 'build_vectorizer', 'unregister_vectorizer', 'register_side',
        'bi_encoder_named', 'check_owner', 'caller', 'create_triggers', 'drop_triggers', 'grant_to_worker', 'create_side', 'create_search',
        'drop_search', 'is_ours', 'target_name', 'vector_key', 'key_columns', 'key_index', 'column_type', 'vector_type', 'vector_schema',
        'side_match', 'announce'
    ]);
end;
comment on function pgsbert.functions_of(text) is 'The functions that a reader or an operator may execute';

create or replace function pgsbert.grant_usage(role text, level text default 'reader') returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    routine regprocedure;
begin
    perform pgsbert.check_option('level', level, array['reader', 'operator']);
    if role is null or not exists (select from pg_roles where rolname = role) then
        raise exception using errcode = 'PB007', message = format('role "%s" does not exist', coalesce(role, 'NULL'));
    end if;
    execute format('grant usage on schema pgsbert to %I', role);
    execute format('grant select on pgsbert.status, pgsbert.failures, pgsbert.workers, pgsbert.models to %I', role);
    for routine in select f from pgsbert.functions_of(level) as f loop
        execute format('grant execute on routine %s to %I', routine, role);
    end loop;
end;
$$;
comment on function pgsbert.grant_usage(text, text) is 'Lets a role search, embed and rerank (reader), or also make and steer vectorizers of its own tables (operator)';

create or replace function pgsbert.revoke_usage(role text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if role is null or not exists (select from pg_roles where rolname = role) then
        raise exception using errcode = 'PB007', message = format('role "%s" does not exist', coalesce(role, 'NULL'));
    end if;
    execute format('revoke all on all routines in schema pgsbert from %I', role);
    execute format('revoke all on all tables in schema pgsbert from %I', role);
    execute format('revoke all on schema pgsbert from %I', role);
end;
$$;
comment on function pgsbert.revoke_usage(text) is 'Takes back all that grant_usage gave';
