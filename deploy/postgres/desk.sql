-- The role of the auditors' desk in the audit service's database (PostgreSQL 16 or newer).
-- Run as an administrator, after roles.sql and before the audit service starts:
--   psql -v party=audit -v password="$PASSWORD" -f desk.sql
-- It may connect and nothing more; the audit service gives it what the desk may (desk.role in
-- audit.toml): read the log, and add to the outbox and to the desk's own tables.

\set ON_ERROR_STOP on
\set desk :party '_desk'

CREATE ROLE :"desk" LOGIN PASSWORD :'password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

GRANT CONNECT ON DATABASE :"party" TO :"desk";
