-- What queries filter by. Derived from audit_entry and rebuilt from it at will, so not append-only.

CREATE TABLE audit_event (
    idx bigint PRIMARY KEY,
    type text NOT NULL,
    producer text NOT NULL,
    time_us bigint NOT NULL,
    plan_id text,
    run_id text,
    round bigint
);
COMMENT ON TABLE audit_event IS
    'The searchable fields of each entry. Written by the projector, after the entry''s batch is durable.';

CREATE INDEX audit_event_type ON audit_event (type, idx);
CREATE INDEX audit_event_producer ON audit_event (producer, idx);
CREATE INDEX audit_event_plan ON audit_event (plan_id, idx) WHERE plan_id IS NOT NULL;
CREATE INDEX audit_event_run ON audit_event (run_id, idx) WHERE run_id IS NOT NULL;
