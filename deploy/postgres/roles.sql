-- One role and one database for a party, on a PostgreSQL server of its own choice (16 or newer).
-- Run as an administrator:
--   psql -v party=north -v password="$PASSWORD" -f roles.sql
-- The role owns its database and nothing else; nobody else may connect to it.

\set ON_ERROR_STOP on

CREATE ROLE :"party" LOGIN PASSWORD :'password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

GRANT :"party" TO CURRENT_USER;

CREATE DATABASE :"party" OWNER :"party";

REVOKE ALL ON DATABASE :"party" FROM PUBLIC;
