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
    -- loopback sessions have one role and would read each other's questions in pg_stat_activity
    if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) and not exists (
        select from pg_catalog.pg_db_role_setting
        where setrole = 'pgsbert_gateway'::pg_catalog.regrole and setdatabase = 0 and 'track_activities=off' = any (setconfig)
    ) then
        alter role pgsbert_gateway set track_activities = off;
    end if;
end;
$$;
