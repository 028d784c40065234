-- A witness's memory: the last checkpoint it cosigned, and every fork it was offered.

CREATE TABLE witness_seen (
    origin text PRIMARY KEY,
    size bigint NOT NULL,
    note text NOT NULL
);
COMMENT ON TABLE witness_seen IS
    'The last checkpoint cosigned of each log (size 0: none yet). Written before the cosignature leaves, under the row''s lock.';

CREATE TABLE witness_fork (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL,
    seen text NOT NULL,
    offered text NOT NULL,
    proof text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (origin, seen, offered)
);
COMMENT ON TABLE witness_fork IS
    'Two checkpoints signed by one log that cannot both be true, with the proof that failed. Written when a fork is refused.';

CREATE FUNCTION witness_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the table is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON witness_fork
FOR EACH STATEMENT EXECUTE FUNCTION witness_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON witness_fork FROM PUBLIC, CURRENT_USER;
