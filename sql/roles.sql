-- The two roles of an installation. Roles belong to the cluster: those that exist are used as they are. Who is no
-- superuser has them made by an administrator: pgsbert install --print-dba-sql.

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgsbert_worker') then
        create role pgsbert_worker nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgsbert_gateway') then
        create role pgsbert_gateway login noinherit;
    end if;
    if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        -- loopback sessions have one role and would read each other's questions in pg_stat_activity
        execute pg_catalog.format('alter role pgsbert_gateway in database %I set track_activities = off', pg_catalog.current_database());
    end if;
end;
$$;
