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

CREATE TABLE audit_bundle (
    start bigint PRIMARY KEY CHECK (start >= 0),
    count smallint NOT NULL CHECK (count BETWEEN 1 AND 256),
    content bytea NOT NULL
);
-- Eight kilobytes stay in the row; beyond, one entry is longer than that. Nothing is compressed.
ALTER TABLE audit_bundle ALTER COLUMN content SET STORAGE EXTERNAL;
ALTER TABLE audit_bundle SET (toast_tuple_target = 8160);
COMMENT ON TABLE audit_bundle IS
    'The leaves of the tree as signed by their producers: runs of consecutive entries, each after its length in two bytes (C2SP tlog-tiles). No run crosses a multiple of 256. Written by the sequencer, a batch at a time.';

CREATE TABLE audit_event_id (
    slot bigint NOT NULL,
    start bigint NOT NULL,
    ids bytea NOT NULL CHECK (length(ids) % 16 = 0),
    PRIMARY KEY (slot, start)
);
ALTER TABLE audit_event_id ALTER COLUMN ids SET STORAGE EXTERNAL;
COMMENT ON TABLE audit_event_id IS
    'The event ids of consecutive entries, 16 bytes each, where their first 36 bits (about four seconds) are the same slot. Written by the sequencer with the entries.';

CREATE FUNCTION audit_content(wanted bigint) RETURNS bytea
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    run audit_bundle;
    at integer := 0;
BEGIN
    SELECT * INTO run FROM audit_bundle WHERE start <= wanted ORDER BY start DESC LIMIT 1;
    IF NOT FOUND OR wanted >= run.start + run.count THEN
        RETURN NULL;
    END IF;
    FOR skipped IN 1 .. wanted - run.start LOOP
        at := at + 2 + 256 * get_byte(run.content, at) + get_byte(run.content, at + 1);
    END LOOP;
    RETURN substring(
        run.content FROM at + 3
        FOR 256 * get_byte(run.content, at) + get_byte(run.content, at + 1)
    );
END
$$;
COMMENT ON FUNCTION audit_content IS 'The bytes of one entry, by its index.';

CREATE FUNCTION audit_index(wanted uuid) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT row.start + place
    FROM audit_event_id row
    CROSS JOIN LATERAL generate_series(0, length(row.ids) / 16 - 1) place
    WHERE row.slot = ('x' || left(replace(wanted::text, '-', ''), 9))::bit(36)::bigint
        AND position(uuid_send(wanted) IN row.ids) > 0
        AND substring(row.ids FROM place * 16 + 1 FOR 16) = uuid_send(wanted)
    LIMIT 1
$$;
COMMENT ON FUNCTION audit_index IS 'The index of the entry with an event id.';

CREATE VIEW audit_entry AS
SELECT
    row.start + place AS idx,
    encode(substring(row.ids FROM place * 16 + 1 FOR 16), 'hex')::uuid AS event_id,
    audit_content(row.start + place) AS content
FROM audit_event_id row
CROSS JOIN LATERAL generate_series(0, length(row.ids) / 16 - 1) place;
COMMENT ON VIEW audit_entry IS
    'Entry by entry, for a person who looks. It is computed row by row: programs call audit_content(idx) and audit_index(event_id), which touch one row of a table.';

CREATE TABLE audit_producer (
    id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON TABLE audit_producer IS
    'Short numbers for producers. Written by the sequencer with a producer''s first entry.';

CREATE TABLE audit_chain_end (
    producer smallint NOT NULL,
    idx bigint NOT NULL,
    seq bigint NOT NULL,
    leaf bytea NOT NULL CHECK (length(leaf) = 32),
    PRIMARY KEY (producer, idx)
);
COMMENT ON TABLE audit_chain_end IS
    'Number and leaf hash of a producer''s last entry in each batch that has one. Written by the sequencer with the batch.';

CREATE TABLE audit_tile (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    idx bigint NOT NULL CHECK (idx >= 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    content bytea NOT NULL CHECK (length(content) = 8192),
    inner_nodes bytea NOT NULL CHECK (length(inner_nodes) = 8128),
    PRIMARY KEY (level, idx)
);
ALTER TABLE audit_tile ALTER COLUMN content SET STORAGE EXTERNAL; -- hashes do not compress
ALTER TABLE audit_tile ALTER COLUMN inner_nodes SET STORAGE EXTERNAL;
COMMENT ON TABLE audit_tile IS
    'Full tiles of 256 hashes (C2SP tlog-tiles), the nodes above them by height, and the root of each. Written by the sequencer when a tile fills.';

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
        'audit_bundle', 'audit_event_id', 'audit_producer', 'audit_chain_end', 'audit_tile',
        'audit_checkpoint', 'audit_cosignature', 'audit_witnessed', 'audit_claim'
    ] LOOP
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
             FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()', name);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, CURRENT_USER', name);
    END LOOP;
END
$$;
