-- The hospital's privacy budget. Rows are committed before the access to patients that they pay for
-- and are never changed, so a crash can only leave a charge for work that was not done.

CREATE TABLE IF NOT EXISTS ledger_charge (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    partition text NOT NULL CHECK (partition IN ('train', 'held-out')),
    number integer NOT NULL CHECK (number >= 1),
    plan_id text NOT NULL,
    work_id text NOT NULL UNIQUE,
    charge bytea NOT NULL,
    entry bytea NOT NULL,
    UNIQUE (account, partition, number)
);
COMMENT ON TABLE ledger_charge IS
    'Written by the ledger in the transaction that also appends the event privacy.charged to the '
    'outbox. charge holds the canonical bytes of the charge, entry the signed log entry about it; '
    'number counts the charges of one account and partition from 1; work_id names the one '
    'piece of work that was paid for.';

CREATE TABLE IF NOT EXISTS ledger_account (
    account text NOT NULL,
    partition text NOT NULL,
    charges integer NOT NULL CHECK (charges >= 0),
    PRIMARY KEY (account, partition)
);
COMMENT ON TABLE ledger_account IS
    'Written by the ledger with every charge. Its row is the lock under which an account is read '
    'and charged, so that two transactions cannot both take the last of a budget; charges is how '
    'many rows the account must have.';

CREATE TABLE IF NOT EXISTS ledger_set_aside (
    position bigint PRIMARY KEY,
    account text,
    partition text,
    number integer,
    plan_id text,
    work_id text,
    charge bytea,
    entry bytea,
    set_aside_us bigint NOT NULL
);
COMMENT ON TABLE ledger_set_aside IS
    'Rows that ledger_charge held and the hospital''s own log contradicted. Written when the ledger '
    'is written anew from the log, which is the only time that rows leave ledger_charge; kept for '
    'whoever asks what had been changed.';

CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the privacy ledger is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE OR REPLACE TRIGGER ledger_charge_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_charge
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

CREATE OR REPLACE TRIGGER ledger_account_append_only
    BEFORE DELETE OR TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

-- By which the ledger finds the lines that the hospital's own log has of it; queries must use the
-- same words.
CREATE INDEX IF NOT EXISTS outbox_ledger_lines ON outbox_entry (producer, seq)
    WHERE log = 'local' AND position('"type":"ledger.charged"'::bytea IN content) > 0;
