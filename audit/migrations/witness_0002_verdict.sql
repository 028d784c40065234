-- What a kept fork shows: proven where nobody but the log can have made it.

ALTER TABLE witness_fork
    ADD COLUMN verdict text NOT NULL DEFAULT 'unproven' CHECK (verdict IN ('proven', 'unproven')),
    DROP CONSTRAINT witness_fork_origin_seen_offered_key,
    ADD UNIQUE (origin, seen, offered, verdict);
COMMENT ON COLUMN witness_fork.verdict IS
    'proven: two histories under the log''s key. unproven: the proof at hand failed, and whoever passed it on may have spoilt it.';
