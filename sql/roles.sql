-- The two roles of an installation. Roles belong to the cluster: those that exist are used as they are.

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgsbert_worker') then
        create role pgsbert_worker nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgsbert_gateway') then
        create role pgsbert_gateway login noinherit;
    end if;
    execute pg_catalog.format(
        'alter role pgsbert_gateway in database %I set synchronous_commit = off', pg_catalog.current_database()
    );
    -- whatever the database sets for its users must not stop or blind a loopback session
    execute pg_catalog.format('alter role pgsbert_gateway in database %I set statement_timeout = 0', pg_catalog.current_database());
    execute pg_catalog.format('alter role pgsbert_gateway in database %I set idle_session_timeout = 0', pg_catalog.current_database());
    execute pg_catalog.format('alter role pgsbert_gateway in database %I set default_transaction_read_only = off', pg_catalog.current_database());
    execute pg_catalog.format('alter role pgsbert_gateway in database %I set default_transaction_isolation = %L', pg_catalog.current_database(), 'read committed');
end;
$$;
