#!/bin/sh
# PostgreSQL's container runs this once, when it creates the database: it makes the user
# of the web process, who may read the tables that the service will create, and nothing
# else.
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$WEB_PASSWORD" \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE web LOGIN PASSWORD :'password';
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO web;
SQL
