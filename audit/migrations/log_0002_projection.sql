-- What queries filter by. Derived from the entries and rebuilt from it at will, so not append-only.

CREATE TABLE audit_event (
    idx bigint PRIMARY KEY,
    seq bigint NOT NULL,
    time_us bigint NOT NULL,
    round bigint,
    outcome smallint NOT NULL,
    type text NOT NULL,
    producer text NOT NULL,
    organisation text,
    actor text,
    plan_id text,
    run_id text,
    models text[] NOT NULL,
    sites text[] NOT NULL,
    facts jsonb NOT NULL
);
COMMENT ON TABLE audit_event IS
    'The searchable side of each entry. Written by the projector, after the entry''s batch is durable.';
COMMENT ON COLUMN audit_event.organisation IS
    'The actor''s organisation, or else the producer''s by the consortium file.';
COMMENT ON COLUMN audit_event.models IS
    'Digests of models that the body names, wherever in it.';
COMMENT ON COLUMN audit_event.facts IS
    'The body, NUL characters replaced. For searching: what is proven is the entry itself.';

CREATE INDEX audit_event_type ON audit_event (type, idx);
CREATE INDEX audit_event_producer ON audit_event (producer, idx);
CREATE INDEX audit_event_organisation ON audit_event (organisation, idx);
CREATE INDEX audit_event_actor ON audit_event (actor, idx) WHERE actor IS NOT NULL;
CREATE INDEX audit_event_plan ON audit_event (plan_id, idx) WHERE plan_id IS NOT NULL;
CREATE INDEX audit_event_run ON audit_event (run_id, round, idx) WHERE run_id IS NOT NULL;
CREATE INDEX audit_event_failure ON audit_event (idx) WHERE outcome > 0;
CREATE INDEX audit_event_time ON audit_event USING brin (time_us) WITH (pages_per_range = 32);
CREATE INDEX audit_event_moment ON audit_event (time_us, idx); -- pages in order of time
CREATE INDEX audit_event_models ON audit_event USING gin (models);
CREATE INDEX audit_event_sites ON audit_event USING gin (sites);

CREATE TABLE audit_unprojected (
    idx bigint PRIMARY KEY,
    fault text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE audit_unprojected IS
    'The entry at which the projection has stopped. Written by the projector, and removed once it goes on.';

CREATE TABLE audit_oddity (
    kind text NOT NULL CHECK (kind IN ('gap', 'late', 'clock')),
    idx bigint NOT NULL,
    producer text NOT NULL,
    time_us bigint NOT NULL,
    last_idx bigint,
    amount bigint NOT NULL,
    PRIMARY KEY (kind, idx)
);
COMMENT ON TABLE audit_oddity IS
    'What is odd about an entry beside those before it. Written with its row of audit_event.';
COMMENT ON COLUMN audit_oddity.last_idx IS
    'The producer''s entry before it, where the oddity lies between the two.';
COMMENT ON COLUMN audit_oddity.amount IS
    'Numbers that are missing before a gap (negative where numbers repeat); else microseconds.';
