-- What pgsbert doctor looks at. Each statement returns what is wrong: level (problem or warning), what it is about,
-- what was found and what to do. No row: all is well.

-- name: check_server
select 'problem' as level, 'PostgreSQL', format('the server is %s', current_setting('server_version')), 'pgsbert needs PostgreSQL 15 or newer'
where current_setting('server_version_num')::int < 150000
union all
select 'warning', 'autovacuum', 'it is off: dead rows of the queues stay', 'ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();'
where current_setting('autovacuum') = 'off' or current_setting('track_counts') = 'off'
union all
select 'warning', 'max_prepared_transactions',
    'it is above 0: a transaction that notified could not be prepared, so writers do not notify and rows wait up to a second',
    'set it to 0, or ALTER DATABASE ... SET pgsbert.notify = on if nobody uses PREPARE TRANSACTION'
where current_setting('max_prepared_transactions')::int > 0
  and coalesce(nullif(current_setting('pgsbert.notify', true), ''), 'auto') = 'auto';

-- name: check_extensions
select 'problem' as level, 'extension ' || wanted.name,
    case when e.extname is null then 'it is not in this database' else format('it is version %s', e.extversion) end,
    case when e.extname is null then format('CREATE EXTENSION %I;', wanted.name) else format('ALTER EXTENSION %I UPDATE;', wanted.name) end
from (values ('vector', '{0,8}'::int[]), ('dblink', '{1,0}'::int[])) as wanted (name, version)
left join pg_extension as e on e.extname = wanted.name
where e.extname is null
   or (select array_agg(part::int order by place) from regexp_split_to_table(e.extversion, '\.') with ordinality as p (part, place)) < wanted.version;

-- name: check_roles
select 'problem' as level, 'role ' || wanted.name, 'it does not exist', 'run pgsbert install as a superuser'
from (values ('pgsbert_worker'), ('pgsbert_gateway')) as wanted (name)
where not exists (select from pg_roles as r where r.rolname = wanted.name)
union all
select 'problem', 'role pgsbert_gateway', 'it may not log in, so embed() cannot ask',
    'ALTER ROLE pgsbert_gateway LOGIN VALID UNTIL ''infinity'' CONNECTION LIMIT -1;'
from pg_roles as r
where r.rolname = 'pgsbert_gateway'
  and (not r.rolcanlogin or r.rolvaliduntil < now() or r.rolconnlimit = 0)
union all
select 'problem', 'role pgsbert_gateway', 'it may do more than ask: every session that embeds shares its connection',
    'ALTER ROLE pgsbert_gateway NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS; and REVOKE its memberships'
from pg_roles as r
where r.rolname = 'pgsbert_gateway'
  and (
      r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls
      or exists (select from pg_auth_members as m where m.member = r.oid)
  );

-- name: check_gateway_settings
-- Whoever may run SQL on the shared connection may set these. The connection overrides them; still somebody did it.
select 'warning' as level, 'role pgsbert_gateway', format('%s is set%s', setting, coalesce(' in database ' || d.datname, '')),
    case when d.datname is null then 'ALTER ROLE pgsbert_gateway RESET ALL;'
         else format('ALTER ROLE pgsbert_gateway IN DATABASE %I RESET ALL; then run pgsbert upgrade', d.datname) end
from pg_db_role_setting as s
join pg_roles as r on r.oid = s.setrole and r.rolname = 'pgsbert_gateway'
left join pg_database as d on d.oid = s.setdatabase
cross join unnest(s.setconfig) as setting
where (d.oid is null or d.datname = current_database())
  and setting not in (
      'synchronous_commit=off', 'statement_timeout=0', 'idle_session_timeout=0', 'default_transaction_read_only=off',
      'default_transaction_isolation=read committed', 'track_activities=off'
  );

-- name: check_workers
select 'problem' as level, 'workers', 'no worker is alive: rows wait, and embed() raises PB001', 'start one: pgsbert worker'
where not exists (select from pgsbert.workers where alive)
union all
select 'problem', 'workers', format('no live worker serves %s: %s', s.service, s.consequence), format('start one: pgsbert worker --serve %s', s.service)
from (values
    ('rows', 'new and changed rows wait'),
    ('embed', 'embed() and searches raise PB001'),
    ('rerank', 'rerank() and classify() raise PB001')
) as s (service, consequence)
where exists (select from pgsbert.workers where alive)
  and not exists (select from pgsbert.workers where alive and s.service = any (serves))
  and (s.service <> 'rerank' or exists (select from pgsbert.models where kind <> 'bi-encoder'))
union all
select 'problem', format('worker %s on %s', w.id, w.host), 'its listener has no connection: rows wait for its poll',
    'give it a direct connection, --listen-dsn; a transaction pooler cannot LISTEN'
from pgsbert.workers as w
where w.alive and not w.listening and not w.poll_only and w.started_at < clock_timestamp() - interval '15 seconds';

-- name: check_models
select 'problem' as level, 'model ' || m.name, format('worker %s: %s', s.key, s.value), 'put its files where that worker looks, or register it anew'
from pgsbert.models as m
cross join jsonb_each_text(m.workers) as s
where s.value not like 'present%'
union all
select 'problem', 'models', 'no default bi-encoder is registered', 'run pgsbert model add NAME --default'
where not exists (select from pgsbert.models where is_default and kind = 'bi-encoder');

-- name: check_vectorizers
select 'problem' as level, 'vectorizer ' || v.name, 'broken: ' || v.reason, 'mend that; where a column or key is gone, drop the vectorizer and create it anew'
from pgsbert.status as v
where v.state = 'broken'
union all
select 'warning', 'vectorizer ' || v.name, 'the index was not built: ' || v.reason,
    'run that statement, or mend the cause and SELECT pgsbert.refresh(' || quote_literal(v.name) || ')'
from pgsbert.status as v
where v.state <> 'broken' and v.reason is not null
union all
select 'warning', 'vectorizer ' || v.name, format('%s rows could not be embedded', v.failed),
    format('SELECT * FROM pgsbert.failures; mend the cause, then SELECT pgsbert.retry_failures(%L)', v.name)
from pgsbert.status as v
where v.failed > 0
union all
select 'warning', 'vectorizer ' || v.name, format('a row has waited for %s', date_trunc('second', clock_timestamp() - v.oldest_pending)),
    case when v.state = 'paused' then format('SELECT pgsbert.resume_vectorizer(%L)', v.name)
         when v.workers = 0 then 'start a worker'
         else 'see the workers'' logs; more workers share the queue' end
from pgsbert.status as v
where v.state <> 'broken' and v.oldest_pending < clock_timestamp() - interval '5 minutes';

-- name: check_triggers
select 'problem' as level, 'vectorizer ' || v.name,
    case when t.tgname is null then format('%s has no trigger for %s', v.source, operation.name)
         else format('trigger %I of %s is disabled', t.tgname, v.source) end,
    case when t.tgname is null then 'drop the vectorizer and create it anew'
         else format('ALTER TABLE %s ENABLE TRIGGER %I; SELECT pgsbert.refresh(%L);', v.source, t.tgname, v.name) end
from pgsbert.vectorizer as v
cross join (values ('insert', 4), ('update', 16), ('delete', 8), ('truncate', 32)) as operation (name, bit)
left join pg_trigger as t on t.tgrelid = v.source and not t.tgisinternal and t.tgtype::int & 2 = 0
    and t.tgtype::int & operation.bit <> 0
    and t.tgfoid in (
        select p.oid from pg_proc as p
        where p.pronamespace = 'pgsbert'::regnamespace and p.proname like format('enqueue\_%s\_%%', v.id)
    )
where exists (select from pg_class as c where c.oid = v.source)
  and (t.tgname is null or t.tgenabled not in ('O', 'A'));

-- name: check_indexes
select 'warning' as level, 'vectorizer ' || v.name, format('index %s is not valid: it is being built, or a build broke off', i.indexrelid::regclass),
    'a worker builds it anew; on a table it does not own: DROP INDEX and create it again'
from pgsbert.vectorizer as v
join pg_index as i on i.indrelid = coalesce(v.side, v.source) and not i.indisvalid
join pg_class as c on c.oid = i.indexrelid
join pg_am as a on a.oid = c.relam and a.amname = 'hnsw'
where v.index_method = 'hnsw';

-- name: check_dimensions
select 'problem' as level, 'vectorizer ' || v.name,
    format('column %I of %s is %s, and "%s" makes vector(%s)', a.attname, a.attrelid::regclass, format_type(a.atttypid, a.atttypmod), m.name, m.dimensions),
    'drop the vectorizer and the column, and create it anew'
from pgsbert.vectorizer as v
join pgsbert.model as m on m.name = v.model
join pg_attribute as a on a.attrelid = coalesce(v.side, v.source) and a.attname = pgsbert.target_name(v) and not a.attisdropped
where a.atttypmod not in (-1, m.dimensions);

-- name: check_grants
select 'problem' as level, 'vectorizer ' || v.name, format('pgsbert_worker may not %s column %I of %s', needed.privilege, a.attname, v.source),
    format('GRANT %s (%I) ON %s TO pgsbert_worker;', needed.privilege, a.attname, v.source)
from pgsbert.vectorizer as v
join pg_attribute as a on a.attrelid = v.source and not a.attisdropped
join lateral (
    select 'SELECT' as privilege where a.attnum = any (v.column_numbers || v.key_numbers || v.target_number)
    union all
    select 'UPDATE' where a.attnum = v.target_number
) as needed on not has_column_privilege('pgsbert_worker', v.source, a.attnum, needed.privilege)
where v.storage = 'column' or needed.privilege = 'SELECT'
union all
select 'problem', 'schema ' || n.nspname, 'pgsbert_worker may not use it', format('GRANT USAGE ON SCHEMA %I TO pgsbert_worker;', n.nspname)
from (select distinct c.relnamespace from pgsbert.vectorizer as v join pg_class as c on c.oid = v.source) as used
join pg_namespace as n on n.oid = used.relnamespace
where not has_schema_privilege('pgsbert_worker', n.oid, 'usage');

-- name: check_transactions
-- They keep dead rows of the queues: claims slow down, and a writer that held a lock is not embedded.
select 'warning' as level, format('session %s', a.pid), format('a transaction of %s is open for %s', a.usename, date_trunc('minute', clock_timestamp() - a.xact_start)),
    format('end it: SELECT pg_terminate_backend(%s);', a.pid)
from pg_stat_activity as a
where a.datname = current_database() and a.xact_start < clock_timestamp() - interval '10 minutes' and a.backend_type = 'client backend'
union all
select 'warning', 'prepared transaction ' || p.gid, format('it was prepared at %s', p.prepared), format('COMMIT PREPARED %1$L or ROLLBACK PREPARED %1$L', p.gid)
from pg_prepared_xacts as p
where p.database = current_database() and p.prepared < clock_timestamp() - interval '10 minutes';

-- name: serving_workers
-- Each live worker, and why it does not serve: null if it does.
select
    w.id,
    w.host,
    case
        when not w.listening and not w.poll_only then 'its listener has no connection'
        else (
            select format('model %s: %s', v.model, coalesce(w.models ->> v.model, 'not loaded yet'))
            from pgsbert.status as v
            where v.state <> 'broken' and coalesce(w.models ->> v.model, '') not like 'present%'
            order by v.model
            limit 1
        )
    end
from pgsbert.workers as w
where w.alive;
