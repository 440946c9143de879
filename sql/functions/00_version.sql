-- What this schema is and which workers fit it; a worker reads both before it does anything, and while it runs.

create or replace function pgsbert.schema_version() returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return '0003';
comment on function pgsbert.schema_version() is 'The migration this schema is at; a dump without data keeps it here alone';

create or replace function pgsbert.needs_worker() returns text
language sql immutable
set search_path = pg_catalog, pg_temp
-- raise it when an older worker would lose or misplace something under this schema
return '0.1.0';
comment on function pgsbert.needs_worker() is 'The oldest version of the package whose workers may work on this schema';
