-- The log itself: entries, tiles, checkpoints. All of it append-only.
--
-- Grants and triggers deter; what proves that nothing was changed are the witnesses. There are no
-- foreign keys: their checks need the owner's right to UPDATE, which is revoked here.

CREATE FUNCTION audit_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the table is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TABLE audit_producer (
    id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON TABLE audit_producer IS
    'Short numbers for producers. Written by the sequencer with a producer''s first entry.';

CREATE TABLE audit_entry (
    idx bigint PRIMARY KEY CHECK (idx >= 0),
    seq bigint NOT NULL,
    event_id uuid NOT NULL UNIQUE,
    producer smallint NOT NULL,
    leaf bytea NOT NULL CHECK (length(leaf) = 32),
    content bytea NOT NULL CHECK (length(content) BETWEEN 1 AND 65535),
    UNIQUE (producer, seq)
);
COMMENT ON TABLE audit_entry IS
    'The leaves of the tree, as signed by their producers. Written by the sequencer, a batch at a time.';

CREATE TABLE audit_tile (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    idx bigint NOT NULL CHECK (idx >= 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    content bytea NOT NULL CHECK (length(content) = 8192),
    PRIMARY KEY (level, idx)
);
ALTER TABLE audit_tile ALTER COLUMN content SET STORAGE EXTERNAL; -- hashes do not compress
COMMENT ON TABLE audit_tile IS
    'Full tiles of 256 hashes (C2SP tlog-tiles) and the root of each. Written by the sequencer when a tile fills.';

CREATE TABLE audit_checkpoint (
    size bigint PRIMARY KEY CHECK (size >= 0),
    note text NOT NULL
);
COMMENT ON TABLE audit_checkpoint IS
    'Every checkpoint the log has signed. Written by the sequencer in the transaction of its batch.';

CREATE TABLE audit_cosignature (
    size bigint NOT NULL,
    witness text NOT NULL,
    line text NOT NULL,
    PRIMARY KEY (size, witness)
);
COMMENT ON TABLE audit_cosignature IS
    'Cosignature lines that witnesses posted, verified. Written by the API when one arrives.';

CREATE TABLE audit_witnessed (
    size bigint PRIMARY KEY,
    note text NOT NULL
);
COMMENT ON TABLE audit_witnessed IS
    'Checkpoints with the quorum of cosignatures. Written by the API with the cosignature that completes it.';

CREATE TABLE audit_claim (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    size bigint NOT NULL,
    note text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (size, note)
);
COMMENT ON TABLE audit_claim IS
    'Checkpoints of this log''s key that witnesses hold and this database cannot account for. While one stands, nothing is signed. Written by the API.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'audit_producer', 'audit_entry', 'audit_tile', 'audit_checkpoint',
        'audit_cosignature', 'audit_witnessed', 'audit_claim'
    ] LOOP
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
             FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()', name);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, CURRENT_USER', name);
    END LOOP;
END
$$;
