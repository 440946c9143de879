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
    coalesce(v.broken_reason, v.index_error) as reason,
    v.model,
    greatest(c.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(v.source), 0) as rows,
    q.pending,
    q.failed,
    q.oldest_pending,
    (
        select coalesce(sum((w.rates ->> v.id::text)::float8), 0)
        from pgsbert.worker as w
        where w.seen_at > clock_timestamp() - interval '15 seconds'
    ) as rate,
    (select count(*) from pgsbert.worker as w where w.seen_at > clock_timestamp() - interval '15 seconds') as workers
from pgsbert.vectorizer as v
join pgsbert.queue_counts() as q on q.id = v.id
left join pg_catalog.pg_class as c on c.oid = v.source
order by v.name;
comment on view pgsbert.status is 'Each vectorizer: state (filling, active, paused, broken) with its reason, rows (PostgreSQL''s estimate), pending, failed, rows a second, live workers';

create or replace view pgsbert.failures as
select f.vectorizer, f.key, f.attempts, f.error_class, f.error, f.failed_at
from pgsbert.failed_rows() as f;
comment on view pgsbert.failures is 'Rows that could not be embedded; pgsbert.retry_failures queues them again';

create or replace view pgsbert.workers as
select
    w.id, w.host, w.pid, w.version, w.started_at, w.seen_at,
    w.seen_at > clock_timestamp() - interval '15 seconds' as alive,
    w.models,
    w.listening
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
    ) as workers
from pgsbert.model as m
order by m.kind, m.name;
comment on view pgsbert.models is 'Registered models; workers says for each live worker that tried: present and the engine, or why not';
