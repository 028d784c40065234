-- What a log has promised this party, what came of it, and how far the two clocks are apart.

CREATE TABLE outbox_receipt (
    log text NOT NULL,
    producer text NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL CHECK (last_seq >= first_seq),
    deadline_us bigint NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (log, producer, first_seq)
);
COMMENT ON TABLE outbox_receipt IS
    'The log''s signed receipts, verified. Written by the relay before it asks for indices; kept as evidence.';

CREATE TABLE outbox_overdue (
    log text NOT NULL,
    producer text NOT NULL,
    first_seq bigint NOT NULL,
    PRIMARY KEY (log, producer, first_seq)
);
COMMENT ON TABLE outbox_overdue IS
    'Receipts whose deadline passed without an index. Written by the relay, with the entry that says so.';

CREATE TABLE outbox_clock (
    log text PRIMARY KEY,
    offset_us bigint NOT NULL,
    measured_us bigint NOT NULL
);
COMMENT ON TABLE outbox_clock IS
    'How far this party''s clock is behind the log''s, as last measured. Written by the relay with each receipt.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outbox_receipt
FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outbox_overdue
FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON outbox_receipt, outbox_overdue FROM PUBLIC, CURRENT_USER;
