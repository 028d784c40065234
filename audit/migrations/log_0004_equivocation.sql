-- Reported forks: two checkpoints of this log's key that its database cannot both account for.

CREATE TABLE audit_equivocation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seen text NOT NULL,
    offered text NOT NULL,
    proof text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('proven', 'unproven')),
    reporter text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (seen, offered, verdict)
);
COMMENT ON TABLE audit_equivocation IS
    'Two checkpoints under this log''s signature and the proof between them, as a member reported them. Written by the API before it halts the sequencer.';
COMMENT ON COLUMN audit_equivocation.reporter IS
    'The common name in the reporter''s client certificate.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_equivocation
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_equivocation FROM PUBLIC, CURRENT_USER;
