-- name: vector_type
select t.oid, t.typarray
from pg_extension as e
join pg_depend as d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
join pg_type as t on d.classid = 'pg_type'::regclass and d.objid = t.oid
where e.extname = 'vector' and t.typname = 'vector';

-- name: vectorizers
-- Names as they are at this moment: attnums and regclass follow every rename.
select
    v.id,
    v.name,
    n.nspname as schema_name,
    c.relname as table_name,
    v.model,
    m.document_prompt,
    v.storage,
    v.distance,
    v.on_truncate,
    (
        select pg_catalog.array_agg(a.attname order by u.place)
        from pg_catalog.unnest(v.column_numbers) with ordinality as u (number, place)
        join pg_attribute as a on a.attrelid = v.source and a.attnum = u.number and not a.attisdropped
    )::text[] as columns,
    pgsbert.document_expression(v, 's') as document,
    pgsbert.image_column(v.source, v.column_numbers) is not null as embeds_images,
    (
        select pg_catalog.array_agg(a.attname order by u.place)
        from pg_catalog.unnest(v.key_numbers) with ordinality as u (number, place)
        join pg_attribute as a on a.attrelid = v.source and a.attnum = u.number and not a.attisdropped
    )::text[] as keys,
    (select pg_catalog.array_agg(k.operator order by k.place) from pgsbert.key_columns(pgsbert.key_index(v.source)) as k)::text[] as key_operators,
    (select pg_catalog.array_agg(k.greater order by k.place) from pgsbert.key_order(pgsbert.key_index(v.source)) as k)::text[] as key_greater,
    (select k.at_least from pgsbert.key_order(pgsbert.key_index(v.source)) as k where k.place = 1) as key_at_least,
    array(
        select pgsbert.column_type(pg_catalog.to_regclass(pg_catalog.concat('pgsbert.pending_', v.id)), i::smallint)
        from pg_catalog.generate_series(1, pg_catalog.cardinality(v.key_numbers)) as i
        order by i
    ) as key_types,
    coalesce(
        (select pg_catalog.array_agg(a.attname order by a.attnum)
         from pg_attribute as a
         where a.attrelid = v.side and a.attnum between 1 and pg_catalog.cardinality(v.key_numbers)),
        array[]::name[]
    )::text[] as side_keys,
    coalesce(vn.nspname, n.nspname) as vector_schema_name,
    coalesce(vc.relname, c.relname) as vector_table_name,
    pgsbert.target_name(v) as target,
    pgsbert.names_of(v) as names,
    v.filled_at is not null as filled,
    v.index_method = 'hnsw' and v.index_error is null and not pgsbert.has_index(v) as index_wanted,
    (select pg_catalog.count(*) from pg_index as i where i.indrelid = coalesce(v.side, v.source)) as indexes,
    coalesce(vc.relkind, c.relkind) = 'p' as is_partitioned,
    pg_has_role(current_user, c.relowner, 'usage') as owns_table,
    pgsbert.vector_schema() as type_schema
from pgsbert.vectorizer as v
join pgsbert.model as m on m.name = v.model
join pg_class as c on c.oid = v.source
join pg_namespace as n on n.oid = c.relnamespace
left join pg_class as vc on vc.oid = v.side
left join pg_namespace as vn on vn.oid = vc.relnamespace
-- judged in this snapshot too: a key may have gone since broken_sources
where not v.paused and v.broken_reason is null and pgsbert.broken_by(v) is null
order by v.id;

-- name: claim_fresh
-- Rows nobody has touched at their present revision, in the order of the key and in passes: a pass takes what was
-- queued before it began, so a row that is edited again and again keeps no other waiting. (Oldest first would need an
-- index on the revision, which every user's write would pay for.) SKIP LOCKED passes by rows whose user is still in a
-- transaction; the lease table decides between workers. The next claim of the pass begins beyond the last key of this
-- one, and so does not read again what is gone: with an old snapshot about, nothing can remove it.
with candidate as (
    select {pending_keys}, p.revision
    from {pending} as p
    where p.revision <= %(up_to)s
      and {beyond_place}
      and not exists (select from {lease} as l where l.revision = p.revision)
    order by {pending_keys}
    limit %(limit)s
    for update of p skip locked
), leased as (
    insert into {lease} as l ({keys}, revision, worker, claimed_until)
    select {keys}, revision, %(worker)s, clock_timestamp() + %(lease_time)s
    from candidate
    on conflict ({keys}) do update
    set revision = excluded.revision,
        worker = excluded.worker,
        attempts = 1,
        deferred = 0,
        claimed_until = excluded.claimed_until,
        error_class = null,
        error = null,
        failed_at = null
    where l.revision < excluded.revision
    returning l.revision, l.attempts
)
select revision, attempts, case when row_number() over () = 1 then {place} end as place
from leased;

-- name: claim_again
-- Rows whose lease ran out: the model failed on them, somebody held them, or a worker died. One that was tried twice
-- comes alone, so that a text which kills the process takes no other with it; those that were only held come together.
-- Who waits longest is first: the neighbours of such a text do not wait until it is given up.
with due as (
    select l.revision, least(l.attempts, 2) as tried, l.claimed_until
    from {lease} as l
    where l.claimed_until <= clock_timestamp() and l.failed_at is null
      and exists (select from {pending} as p where {pending_is_lease} and p.revision = l.revision)
    order by l.claimed_until
    limit %(limit)s
), first as (
    select d.tried from due as d order by d.claimed_until, d.revision limit 1
), candidate as (
    select l.revision
    from {lease} as l
    where l.revision in (
        select d.revision from due as d join first as f on f.tried = d.tried
        order by d.claimed_until, d.revision
        limit (select case tried when 0 then %(limit)s when 1 then 16 else 1 end from first)
    )
      and l.claimed_until <= clock_timestamp()
    for update of l skip locked
)
update {lease} as l
set worker = %(worker)s,
    attempts = l.attempts + 1,
    claimed_until = clock_timestamp() + %(lease_time)s
from candidate as c
where l.revision = c.revision
returning l.revision, l.attempts, null::text[] as place;

-- name: renew
-- By revision, not all of the worker's: a lease that was left over by an error must still run out.
update {lease} as l
set claimed_until = clock_timestamp() + %(lease_time)s
where l.revision = any (%(revisions)s) and l.worker = %(worker)s;

-- name: last_revision
select last_value from pgsbert.revision;

-- name: texts
-- A statement of its own, so that it has a snapshot of its own: read in the claim, a text could be older than the
-- revision it is paired with, and would be stored for good. A newer text only fails the compare-and-set.
-- named_so, here and below: a column that took another's name must not be taken for it. The statement's locks keep
-- names as its snapshot finds them.
-- Texts are read up to a number of bytes, whatever the size of the first; null for those after. What a text is long
-- is known without fetching it.
select claimed.revision, case
    when coalesce(pg_catalog.sum({text_bytes}) over (order by claimed.place rows between unbounded preceding and 1 preceding), 0) < %(bytes)s
    then {document}
end as text
from pg_catalog.unnest(%(revisions)s::bigint[]) with ordinality as claimed (revision, place)
join {lease} as l on l.revision = claimed.revision
join {source} as s on {source_is_lease}
where {named_so};

-- name: put_back
-- Rows whose texts were too long to be read at once are anybody's again, as if they had not been claimed.
with untouched as (
    delete from {lease} as l where l.revision = any (%(revisions)s) and l.worker = %(worker)s and l.attempts <= 1
)
update {lease} as l
set worker = null, attempts = l.attempts - 1, claimed_until = clock_timestamp()
where l.revision = any (%(revisions)s) and l.worker = %(worker)s and l.attempts > 1;

-- name: settle_column
-- Compare-and-set: only rows still queued at the revision the vector was made from, and that nobody holds.
-- All tables are locked when the statement is parsed, before any row: no deadlock with ALTER or TRUNCATE.
with done as materialized (
    select *
    from unnest(%(revisions)b::bigint[], %(vectors)b::{vector}[], %(tokens)b::integer[]) as d (revision, embedding, tokens)
    where {named_so}
), fresh as materialized (
    select {pending_keys}, d.revision, d.embedding, d.tokens
    from done as d
    join {lease} as l on l.revision = d.revision
    join {pending} as p on {pending_is_lease} and p.revision = d.revision
    for update of p skip locked
), held as materialized (
    select {fresh_keys}, f.revision, f.embedding, f.tokens
    from fresh as f
    join {source} as s on {source_is_fresh}
    for no key update of s skip locked
), written as (
    update {source} as s
    set {target} = h.embedding
    from held as h
    where {source_is_held}
), dequeued as (
    delete from {pending} as p
    using held as h
    where {pending_is_held} and p.revision = h.revision
    returning p.revision
), truncated as (
    insert into {truncated} ({keys}, tokens)
    select {keys}, h.tokens from held as h where h.tokens is not null
    on conflict ({keys}) do update set tokens = excluded.tokens
), whole as (
    delete from {truncated} as p
    using held as h
    where {pending_is_held} and h.tokens is null
), unleased as (
    delete from {lease} as l
    using dequeued as q
    where l.revision = q.revision
)
select revision from dequeued;

-- name: settle_table
-- The same for a side table. Nothing of the source is locked: an edit that is on its way brings its own revision.
with done as materialized (
    select *
    from unnest(%(revisions)b::bigint[], %(vectors)b::{vector}[], %(tokens)b::integer[]) as d (revision, embedding, tokens)
    where {named_so}
), fresh as materialized (
    select {pending_keys}, d.revision, d.embedding, d.tokens
    from done as d
    join {lease} as l on l.revision = d.revision
    join {pending} as p on {pending_is_lease} and p.revision = d.revision
    for update of p skip locked
), written as (
    insert into {vector_table} ({side_keys}, {target})
    select {fresh_keys}, f.embedding
    from fresh as f
    where f.embedding is not null
    on conflict ({side_keys}) do update set {target} = excluded.{target}
), cleared as (
    delete from {vector_table} as t
    using fresh as f
    where f.embedding is null and {side_is_fresh}
), dequeued as (
    delete from {pending} as p
    using fresh as f
    where {pending_is_fresh} and p.revision = f.revision
    returning p.revision
), truncated as (
    insert into {truncated} ({keys}, tokens)
    select {keys}, f.tokens from fresh as f where f.tokens is not null
    on conflict ({keys}) do update set tokens = excluded.tokens
), whole as (
    delete from {truncated} as p
    using fresh as f
    where {pending_is_fresh} and f.tokens is null
), unleased as (
    delete from {lease} as l
    using dequeued as q
    where l.revision = q.revision
)
select revision from dequeued;

-- name: settle_vanished
-- Rows that were deleted where no trigger saw it.
with gone as (
    select {pending_keys}, p.revision
    from pg_catalog.unnest(%(revisions)s::bigint[]) as d (revision)
    join {lease} as l on l.revision = d.revision
    join {pending} as p on {pending_is_lease} and p.revision = d.revision
    where {named_so}
      and not exists (select from {source} as s where {source_is_pending})
      -- what row security hides is not deleted
      and not row_security_active({source_name})
    for update of p skip locked
), dequeued as (
    delete from {pending} as p
    using gone as g
    where {pending_is_gone} and p.revision = g.revision
    returning p.revision
)
delete from {lease} as l using dequeued as q where l.revision = q.revision
returning l.revision;

-- name: settle_vanished_side
-- The vectors that such rows left in a side table.
delete from {vector_table} as t
using {lease} as l
where {named_so}
  and l.revision = any (%(revisions)s)
  and {side_is_lease}
  and not exists (select from {source} as s where {source_is_lease})
  and not row_security_active({source_name});

-- name: settle_failed
with hopeless as (
    select {pending_keys}, p.revision
    from {lease} as l
    join {pending} as p on {pending_is_lease} and p.revision = l.revision
    where l.revision = %(revision)s
    for update of p skip locked
), dequeued as (
    delete from {pending} as p
    using hopeless as h
    where {pending_is_held} and p.revision = h.revision
    returning p.revision
)
update {lease} as l
set failed_at = clock_timestamp(), worker = null, error_class = %(error_class)s, error = %(error)s
from dequeued as q
where l.revision = q.revision
returning l.revision;

-- name: try_later
update {lease} as l
set worker = null,
    claimed_until = clock_timestamp() + %(delay)s,
    error_class = %(error_class)s,
    error = %(error)s
where l.revision = any (%(revisions)s);

-- name: defer
-- Somebody holds these rows. That is no failed attempt; each time the wait doubles, up to half a minute.
update {lease} as l
set worker = null,
    attempts = l.attempts - 1,
    deferred = l.deferred + 1,
    claimed_until = clock_timestamp() + least(interval '100 ms' * (2 operator(pg_catalog.^) l.deferred), interval '30 s')
where l.revision = any (%(revisions)s);

-- name: release
-- What this worker held and did not finish is anybody's again, as if it had not been claimed.
with untouched as (
    delete from {lease} as l where l.worker = %(worker)s and l.attempts <= 1 and l.failed_at is null
)
update {lease} as l
set worker = null, attempts = l.attempts - 1, claimed_until = clock_timestamp()
where l.worker = %(worker)s and l.attempts > 1 and l.failed_at is null;

-- name: expire
-- Leases of workers that are not registered any more: they died.
update {lease} as l
set worker = null, claimed_until = clock_timestamp()
where l.worker is not null and l.failed_at is null
  and not exists (select from pgsbert.worker as w where w.id = l.worker);

-- name: forget
-- Leases of rows that were deleted or edited meanwhile.
delete from {lease} as l
where l.failed_at is null and l.claimed_until <= clock_timestamp()
  and not exists (select from {pending} as p where {pending_is_lease} and p.revision = l.revision);

-- name: forget_failures
-- Failures of rows that are gone.
delete from {lease} as l
where {named_so}
  and l.failed_at is not null and not exists (select from {source} as s where {source_is_lease})
  and not row_security_active({source_name});

-- name: forget_truncated
-- Of the next truncated rows by key, those that are gone; returns the last key that was looked at.
with candidate as materialized (
    select {pending_keys}
    from {truncated} as p
    where {named_so} and {beyond_place}
    order by {pending_keys}
    limit %(limit)s
    for update of p skip locked
), gone as (
    delete from {truncated} as p
    using candidate as h
    where {pending_is_held}
      and not exists (select from {source} as s where {source_is_held})
      and not row_security_active({source_name})
)
select {place} as place, (select count(*) from candidate) = %(limit)s as is_full;

-- name: next_due
select extract(epoch from min(l.claimed_until) - clock_timestamp())::double precision
from {lease} as l
where l.failed_at is null;

-- name: fill_lock
select from pgsbert.vectorizer as v where v.id = %(id)s and v.filled_at is null and not row_security_active(v.source)
for no key update skip locked;

-- name: fill_range
-- The next rows by key enter the queue, if they are not there; then the walk has come to the last of them.
with range as materialized (
    select {source_keys}, {wanted} as wanted
    from {source} as s
    where {named_so} and {beyond_last}
    order by {source_order}
    limit %(limit)s
), last as (
    select {keys} from range order by {keys_descending} limit 1
), queued as (
    insert into {pending} ({keys}, revision)
    select {keys}, pg_catalog.nextval('pgsbert.revision')
    from (select * from range where wanted order by {keys}) as r
    on conflict ({keys}) do nothing
), forgotten as (
    delete from {fill} where exists (select from last)
), remembered as (
    insert into {fill} ({keys}, passed)
    select {keys}, coalesce((select passed from {fill}), 0) + (select count(*) from range)
    from last
)
select count(*) from range;

-- name: fill_past_held
-- The walk goes on behind the next row, whose place in the queue an open transaction holds; a sweep is due at the end.
with next as materialized (
    select {source_keys}, {has_vector} as has_vector
    from {source} as s
    where {named_so} and {beyond_last}
    order by {source_order}
    limit %(limit)s
), passed as (
    select * from next where not has_vector
), marked as (
    update pgsbert.vectorizer as v set swept_at = '-infinity' where v.id = %(id)s and exists (select from passed)
), forgotten as (
    delete from {fill} where exists (select from passed)
), remembered as (
    insert into {fill} ({keys}, passed) select {keys}, coalesce((select passed from {fill}), 0) + 1 from passed
)
select count(*) from passed;

-- name: fill_reached
select exists (select from {fill});

-- name: fill_ended
update pgsbert.vectorizer as v
set filled_at = clock_timestamp(),
    -- a row that was passed while somebody edited it is the sweep's to look at, at once
    swept_at = case when v.swept_at = '-infinity' then v.swept_at else clock_timestamp() end
where v.id = %(id)s;

-- name: fill_forgotten
-- The next walk begins at the first row.
delete from {fill};

-- name: sweep_lock
-- Whether a sweep is due or under way: once in a while, when it was asked for, and when partitions came or went.
select from pgsbert.vectorizer as v
where v.id = %(id)s and v.filled_at is not null and not row_security_active(v.source)
  and (
      v.swept_at is null or v.swept_at <= clock_timestamp() - %(every)s
      or v.partitions <> pgsbert.leaf_partitions(v.source)
  )
for no key update skip locked;

-- name: sweep_began
update pgsbert.vectorizer as v
set attached = array(select pg_catalog.unnest(pgsbert.leaf_partitions(v.source)) except select pg_catalog.unnest(v.partitions))
where v.id = %(id)s;

-- name: sweep_column
-- Of the next rows by key, those enter the queue that no trigger saw: text without a vector or the other way round, and
-- no failure that says why. Rows of a partition that was attached enter whatever they have.
with range as materialized (
    select {source_keys}, {has_text} as has_text, s.{target} is not null as has_vector,
        s.tableoid = any ((select v.attached from pgsbert.vectorizer as v where v.id = %(id)s)::oid[]) as is_attached
    from {source} as s
    where {named_so} and {beyond_last}
    order by {source_order}
    limit %(limit)s
), last as (
    select {keys} from range order by {keys_descending} limit 1
), queued as (
    insert into {pending} ({keys}, revision)
    select {keys}, pg_catalog.nextval('pgsbert.revision')
    from (
        select * from range as r
        where (r.has_text <> r.has_vector or r.has_text and r.is_attached)
          and not exists (select from {lease} as l where {lease_is_range} and l.failed_at is not null)
        order by {keys}
    ) as astray
    on conflict ({keys}) do nothing
    returning revision
), forgotten as (
    delete from {fill} where exists (select from last)
), remembered as (
    insert into {fill} ({keys}) select {keys} from last
)
select (select count(*) from range), (select count(*) from queued);

-- name: sweep_table
-- The same over the keys of the source and of the side table together: a vector whose row is gone enters the queue, and
-- leaves it with the vector.
with source_range as materialized (
    select {source_keys}, {has_text} as has_text, false as has_vector,
        s.tableoid = any ((select v.attached from pgsbert.vectorizer as v where v.id = %(id)s)::oid[]) as is_attached
    from {source} as s
    where {named_so} and {beyond_last}
    order by {source_order}
    limit %(limit)s
), side_range as materialized (
    select {side_keys_named}, false as has_text, true as has_vector, false as is_attached
    from {vector_table} as t
    where {named_so} and {side_beyond_last}
    order by {side_order}
    limit %(limit)s
), range as materialized (
    -- a key among the first of both together is among the first of each
    select {keys}, bool_or(has_text) as has_text, bool_or(has_vector) as has_vector, bool_or(is_attached) as is_attached
    from (select * from source_range union all select * from side_range) as either
    group by {keys}
    order by {keys}
    limit %(limit)s
), last as (
    select {keys} from range order by {keys_descending} limit 1
), queued as (
    insert into {pending} ({keys}, revision)
    select {keys}, pg_catalog.nextval('pgsbert.revision')
    from (
        select * from range as r
        where (r.has_text <> r.has_vector or r.has_text and r.is_attached)
          and not exists (select from {lease} as l where {lease_is_range} and l.failed_at is not null)
        order by {keys}
    ) as astray
    on conflict ({keys}) do nothing
    returning revision
), forgotten as (
    delete from {fill} where exists (select from last)
), remembered as (
    insert into {fill} ({keys}) select {keys} from last
)
select (select count(*) from range), (select count(*) from queued);

-- name: sweep_ended
-- Partitions that came after the beginning are for the next sweep.
update pgsbert.vectorizer as v
set swept_at = clock_timestamp(),
    partitions = array(
        select p from pg_catalog.unnest(pgsbert.leaf_partitions(v.source)) as p where p = any (v.partitions || v.attached) order by p::oid
    ),
    attached = '{{}}'
where v.id = %(id)s;

-- name: is_idle
select not exists (select from {pending});

-- name: broken_sources
-- Vectorizers that cannot be worked on, or can again: a table, column or key was dropped, or row security hides rows.
select name, broken_reason from pgsbert.judge_vectorizers();

-- name: is_installed
select to_regclass('pgsbert.migration') is not null;

-- name: schema_version
select version_num from pgsbert.migration;

-- name: needs_worker
select pgsbert.needs_worker(), pgsbert.schema_version();

-- name: backend_pid
select pg_backend_pid();

-- name: set_for_transaction
select set_config(s.name, s.value, true) from unnest(%(names)s::text[], %(values)s::text[]) as s (name, value);

-- name: register_worker
insert into pgsbert.worker (host, pid, version, serves) values (%(host)s, %(pid)s, %(version)s, %(serves)s)
returning id, pg_advisory_lock(1885827939, id);

-- name: register_poll_only_worker
-- Behind a transaction pooler no lock lasts: only its heartbeat tells that it lives.
insert into pgsbert.worker (host, pid, version, serves, poll_only) values (%(host)s, %(pid)s, %(version)s, %(serves)s, true)
returning id;

-- name: leads_elsewhere
-- Whether this connection is to another database or server than the one where the worker holds its lock.
select pg_try_advisory_xact_lock(1885827939, %(worker)s);

-- name: heartbeat
update pgsbert.worker
set seen_at = clock_timestamp(), models = %(models)s, rates = %(rates)s, listening = %(listening)s
where id = %(worker)s
returning id;

-- name: queue_state
select v.name, c.pending, c.failed, coalesce(extract(epoch from clock_timestamp() - c.oldest_pending), 0)::double precision
from pgsbert.queue_state() as c
join pgsbert.vectorizer as v on v.id = c.id;

-- name: unregister_worker
delete from pgsbert.worker where id = %(worker)s;

-- name: dead_workers
-- A worker holds the lock of its number as long as its connection lives; one that was stopped, or whose machine sleeps,
-- keeps it and beats no more. If it comes back, it notices and begins anew. One that only polls holds no lock.
delete from pgsbert.worker as w
where w.id <> %(worker)s
  and (
      w.seen_at < clock_timestamp() - interval '1 minute'
      or not w.poll_only and pg_try_advisory_xact_lock(1885827939, w.id)
  )
returning w.id;

-- name: become_awake
select pg_try_advisory_lock(1885827938, 1);

-- name: become_sleepy
-- From here on commits notify again. Whoever committed before without notifying has an xid below this one.
select pg_advisory_unlock(1885827938, 1), pg_current_xact_id()::text::bigint;

-- name: oldest_running
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint;

-- name: wake_others
select pg_notify('pgsbert', '');

-- name: claim_requests
update pgsbert.request as r
set worker = %(worker)s
where r.id in (
    select o.id
    from pgsbert.request as o
    where o.worker is null and o.kind = any (%(kinds)s) and o.deadline > clock_timestamp()
    order by o.id
    limit 64
    for update skip locked
)
returning r.id, r.kind, r.model, r.query, r.texts, r.images is not null as has_images,
    coalesce((select m.query_prompt from pgsbert.model as m where m.name = r.model), '') as prompt;

-- name: images_of_request
-- Apart from the claim, which takes many: a worker holds the images of one question at a time.
select r.images from pgsbert.request as r where r.id = %(id)s;

-- name: reopen_requests
-- Questions that a worker took and died with: another may still answer in time.
with reopened as (
    update pgsbert.request as r
    set worker = null
    where r.worker = any (%(dead)s) and not r.done and r.deadline > clock_timestamp()
    returning r.id
)
select pg_notify('pgsbert_request', '') from reopened limit 1;

-- name: reply
update pgsbert.request as r
set done = true, vectors = %(vectors)b::{vector}[], scores = %(scores)s::real[], error_code = %(error_code)s, error = %(error)s
where r.id = %(id)s;

-- name: forget_requests
delete from pgsbert.request where deadline < clock_timestamp() - interval '1 minute';

-- name: models
select name, kind, revision, hash, dimensions, max_tokens, similarity, query_prompt, document_prompt, labels, modalities
from pgsbert.model
order by name;

-- name: build_index
create index concurrently on {vector_table} using hnsw ({target} {operator_class});

-- name: build_index_of_partitions
-- Of a partitioned table nothing can be built CONCURRENTLY as a whole.
create index on {vector_table} using hnsw ({target} {operator_class});

-- name: build_index_without_partitions
-- Only an entry in the catalog; valid when each partition has its own attached.
create index on only {vector_table} using hnsw ({target} {operator_class});

-- name: partition_indexes
-- A partitioned table and its partitions, from the top down, each with its HNSW index on the vector column if it has one.
with recursive part as (
    select %(table)s::regclass::oid as oid, null::oid as parent, 0 as depth
    union all
    select i.inhrelid, p.oid, p.depth + 1 from part as p join pg_inherits as i on i.inhparent = p.oid
)
select p.oid, p.parent, n.nspname as schema_name, c.relname as table_name, c.relkind = 'p' as is_partitioned,
    x.nspname as index_schema, x.relname as index_name, coalesce(x.relispartition, false) as is_attached
from part as p
join pg_class as c on c.oid = p.oid
join pg_namespace as n on n.oid = c.relnamespace
left join lateral (
    select xn.nspname, xc.relname, xc.relispartition
    from pg_index as i
    join pg_class as xc on xc.oid = i.indexrelid
    join pg_namespace as xn on xn.oid = xc.relnamespace
    join pg_am as am on am.oid = xc.relam and am.amname = 'hnsw'
    join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = %(target)s
    where i.indrelid = p.oid and (i.indisvalid or c.relkind = 'p')
    order by xc.relispartition desc, xc.oid
    limit 1
) as x on true
order by p.depth, p.oid;

-- name: attach_index
alter index {whole} attach partition {part};

-- name: invalid_indexes
select n.nspname, c.relname
from pg_index as i
join pg_class as c on c.oid = i.indexrelid
join pg_namespace as n on n.oid = c.relnamespace
join pg_am as am on am.oid = c.relam and am.amname = 'hnsw'
where i.indrelid = %(table)s::regclass and not i.indisvalid;

-- name: fill_settled
-- Whether everything the first fill queued has its vector.
select v.filled_at is not null and not exists (select from {pending} as p where p.queued_at <= v.filled_at)
from pgsbert.vectorizer as v
where v.id = %(id)s;

-- name: index_lock
select pg_try_advisory_lock(1885827940, %(id)s::int);

-- name: index_failed
update pgsbert.vectorizer set index_error = %(error)s where id = %(id)s;

-- name: leave_index
-- A worker that only polls builds none; once everything is embedded, and no other worker is there to do it, say so.
update pgsbert.vectorizer as v
set index_error = %(error)s
where v.id = %(id)s and v.index_error is null and v.filled_at is not null
  and not exists (select from {pending} as p where p.queued_at <= v.filled_at)
  and not exists (select from pgsbert.worker as w where not w.poll_only and 'rows' = any (w.serves));

-- name: add_model
insert into pgsbert.model as m (
    name, kind, revision, hash, dimensions, max_tokens, similarity, query_prompt, document_prompt, labels, modalities
)
values (
    %(name)s, %(kind)s, %(revision)s, %(hash)s, %(dimensions)s, %(max_tokens)s, %(similarity)s, %(query_prompt)s, %(document_prompt)s,
    %(labels)s, %(modalities)s
)
on conflict (name) do update
set revision = excluded.revision, max_tokens = excluded.max_tokens, similarity = excluded.similarity,
    query_prompt = excluded.query_prompt, document_prompt = excluded.document_prompt, modalities = excluded.modalities
where m.hash is not distinct from excluded.hash
  and m.kind = excluded.kind
  and m.dimensions is not distinct from excluded.dimensions
  and m.labels is not distinct from excluded.labels;

-- name: retire_default_model
update pgsbert.model as m
set is_default = false
where m.is_default and m.kind = (select kind from pgsbert.model where name = %(name)s);

-- name: choose_default_model
-- After retire_default_model, or where there is none yet.
update pgsbert.model as m
set is_default = true
where m.name = %(name)s and not exists (select from pgsbert.model as d where d.kind = m.kind and d.is_default);

-- name: map_gateway
-- Server and user mapping of the loopback connection, from the one row of pg_temp.pgsbert_gateway_wanted: a password
-- in a statement of its own would be written to the server's log.
do $$
declare
    wanted record;
begin
    select * into strict wanted from pg_temp.pgsbert_gateway_wanted;
    drop server if exists pgsbert_loopback cascade;
    execute pg_catalog.format(
        'create server pgsbert_loopback foreign data wrapper dblink_fdw options '
        '(host %L, port %L, dbname %L, connect_timeout ''5'', application_name ''pgsbert gateway'', options %L)',
        wanted.host, coalesce(wanted.port::text, pg_catalog.current_setting('port')), pg_catalog.current_database(),
        pgsbert.gateway_options()
    );
    if wanted.sslmode is not null then
        execute pg_catalog.format('alter server pgsbert_loopback options (add sslmode %L)', wanted.sslmode);
    end if;
    execute pg_catalog.format(
        'create user mapping for current_user server pgsbert_loopback options (user ''pgsbert_gateway'', password %L)',
        wanted.password
    );
exception when others then
    -- raised anew: the context of the first would show the statement
    raise exception using errcode = sqlstate, message = sqlerrm;
end;
$$;
