#!/bin/sh
# For the database container alone: desk.sql, with the names of the container's environment.
exec psql -U "$POSTGRES_USER" -v party="$POSTGRES_USER" -v password="$DESK_PASSWORD" \
    -f /wardround/desk.sql
