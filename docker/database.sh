#!/bin/bash
# Make the database on first start, with schema pgsbert in it, and run the server.
# The variables are those of the official postgres image; each password can be in a file, named by its variable and _FILE.
set -euo pipefail

value() {  # the variable, else the content of the file that <variable>_FILE names
    local file="${1}_FILE"
    if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}

make_database() {
    local made=$PGDATA
    # moved to its place as a whole: a first start that was cut off leaves nothing that looks like a database
    export PGDATA=$made.new
    rm -rf "$PGDATA"
    local user=${POSTGRES_USER:-postgres} password worker_password
    local database=${POSTGRES_DB:-$user}
    password=$(value POSTGRES_PASSWORD)
    worker_password=$(value PGSBERT_WORKER_PASSWORD)
    if [ -z "$password" ]; then
        echo "No password for $user: set POSTGRES_PASSWORD_FILE to a file that holds it, or POSTGRES_PASSWORD." >&2
        exit 1
    fi
    initdb --username="$user" --pwfile=<(printf '%s\n' "$password") --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    # nobody from outside sees it half made
    pg_ctl start --wait --silent --options="-c listen_addresses=''"
    export PGUSER=$user PGHOST=/var/run/postgresql
    [ "$database" = postgres ] || createdb --maintenance-db=postgres "$database"
    export PGDATABASE=$database
    pgsbert install
    if [ -n "$worker_password" ]; then
        # not in the arguments, which ps shows
        WORKER_PASSWORD=$worker_password psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 << 'SQL'
\getenv password WORKER_PASSWORD
create role search_worker login password :'password';
grant pgsbert_worker to search_worker;
SQL
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) bash "$file" ;;
            *.sql) psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --file="$file" ;;
        esac
    done
    unset PGUSER PGHOST PGDATABASE
    pg_ctl stop --wait --silent --mode=fast
    mv "$PGDATA" "$made"
    export PGDATA=$made
}

[ -s "$PGDATA/PG_VERSION" ] || make_database
exec postgres -c listen_addresses='*' "$@"
