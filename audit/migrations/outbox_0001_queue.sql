-- The outbox of a party: what it has signed, and how far a log has confirmed it.

CREATE TABLE outbox_head (
    log text NOT NULL,
    producer text NOT NULL,
    seq bigint NOT NULL,
    leaf bytea NOT NULL,
    PRIMARY KEY (log, producer)
);
COMMENT ON TABLE outbox_head IS
    'The last entry of each chain; its row lock orders writers. Written with each appended entry.';

CREATE TABLE outbox_entry (
    log text NOT NULL,
    producer text NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL UNIQUE,
    content bytea NOT NULL,
    PRIMARY KEY (log, producer, seq)
);
COMMENT ON TABLE outbox_entry IS
    'Signed entries, in the transaction of the change they record. Kept: they are the party''s own copy.';

CREATE TABLE outbox_delivery (
    log text NOT NULL,
    producer text NOT NULL,
    seq bigint NOT NULL,
    idx bigint NOT NULL,
    PRIMARY KEY (log, producer, seq)
);
COMMENT ON TABLE outbox_delivery IS
    'The index under which the log confirmed an entry. Written by the relay after the log answered.';

CREATE FUNCTION outbox_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the table is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outbox_entry
FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outbox_delivery
FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON outbox_entry, outbox_delivery FROM PUBLIC, CURRENT_USER;
