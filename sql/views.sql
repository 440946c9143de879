-- What operators look at.

create or replace view pgsbert.status as
select
    v.name,
    v.source,
    case
        when v.broken_reason is not null then 'broken'
        when v.paused then 'paused'
        when v.filled_at is null then 'filling'
        else 'active'
    end as state,
    coalesce(v.broken_reason, case when not pgsbert.has_index(v) then v.index_error end) as reason,
    v.model,
    n.rows,
    q.pending,
    q.failed,
    q.oldest_pending,
    n.rate,
    (select count(*) from pgsbert.worker as w where w.seen_at > clock_timestamp() - interval '15 seconds' and 'rows' = any (w.serves)) as workers,
    -- of the existing rows, what the first fill has passed and the workers have done
    case when v.filled_at is not null then 1 else greatest(q.passed - q.pending, 0) / greatest(n.rows, q.passed, 1)::float8 end as progress,
    case
        when v.filled_at is not null and q.pending = 0 then interval '0'
        when n.rate > 0 then
            make_interval(secs => (q.pending + case when v.filled_at is null then greatest(n.rows - q.passed, 0) else 0 end) / n.rate)
    end as eta,
    t.truncated
from pgsbert.vectorizer as v
join pgsbert.queue_state() as q on q.id = v.id
join pgsbert.truncated_counts() as t on t.id = v.id
cross join lateral (
    select
        (
            select coalesce(sum(greatest(p.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(p.oid), 0))::bigint, 0)
            from pg_catalog.pg_class as p
            where p.oid = any (pgsbert.leaf_partitions(v.source) || v.source) and p.relkind <> 'p'
        ) as rows,
        (
            select coalesce(sum((w.rates ->> v.id::text)::float8), 0)
            from pgsbert.worker as w
            where w.seen_at > clock_timestamp() - interval '15 seconds'
        ) as rate
) as n
order by v.name;
comment on view pgsbert.status is 'Each vectorizer: state (filling, active, paused, broken) with its reason, rows (PostgreSQL''s estimate), pending, failed, rows a second, live workers; how far the first fill is, and when all would be done at this rate; rows of which the model took only the beginning';

create or replace view pgsbert.failures as
select f.vectorizer, f.key, f.attempts, f.error_class, f.error, f.failed_at
from pgsbert.failed_rows() as f;
comment on view pgsbert.failures is 'Rows that could not be embedded; pgsbert.retry_failures queues them again';

create or replace view pgsbert.truncated as
select t.vectorizer, t.key, t.tokens, t.max_tokens
from pgsbert.truncated_rows() as t;
comment on view pgsbert.truncated is 'Rows of which the model took only the beginning: their texts have more tokens than it takes';

create or replace view pgsbert.workers as
select
    w.id, w.host, w.pid, w.version, w.started_at, w.seen_at,
    w.seen_at > clock_timestamp() - interval '15 seconds' as alive,
    w.models,
    w.listening,
    w.poll_only,
    w.serves
from pgsbert.worker as w
order by w.id;
comment on view pgsbert.workers is 'Workers with their heartbeat and what they say of each model';

create or replace view pgsbert.models as
select
    m.name, m.kind, m.is_default, m.dimensions, m.max_tokens, m.similarity, m.revision, m.hash,
    (
        select coalesce(jsonb_object_agg(w.id, w.models -> m.name), '{}')
        from pgsbert.worker as w
        where w.models ? m.name and w.seen_at > clock_timestamp() - interval '15 seconds'
    ) as workers,
    m.labels,
    m.modalities
from pgsbert.model as m
order by m.kind, m.name;
comment on view pgsbert.models is 'Registered models; workers says for each live worker that tried: present and the engine, or why not';

create or replace view pgsbert.vectorizers as
select
    v.name, v.schema_name, v.table_name, v.columns, v.template, v.model, v.is_default_model, v.storage, v.target, v.distance, v.index,
    v.on_change, v.on_truncate, v.triggers, v.side_schema_name, v.side_name
from pgsbert.declared_vectorizers() as v
order by v.name;
comment on view pgsbert.vectorizers is 'What each vectorizer was made with, as create_vectorizer takes it and by the names of now; triggers is null where they are those that fit the table';
