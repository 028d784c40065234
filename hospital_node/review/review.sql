-- The review page of one hospital: its people, their sessions, the cases they read and what they
-- signed. Nothing here names a patient; studies are the index's keyed digests.

CREATE TABLE IF NOT EXISTS review_account (
    account text PRIMARY KEY CHECK (account ~ '^[a-z2-7]{16}$'),
    login text NOT NULL UNIQUE CHECK (login ~ '^[a-z][a-z0-9._-]{1,39}$'),
    role text NOT NULL CHECK (role IN ('reader', 'adjudicator', 'qa', 'it')),
    password text NOT NULL,
    made_us bigint NOT NULL,
    closed_us bigint
);
COMMENT ON TABLE review_account IS
    'One row a person who may sign in at the review page. Written by `wardround node reader add`, '
    'closed once by `reader close` or by hospital IT; a closed account opens nothing and stays, '
    'since what was signed under it stays.';
COMMENT ON COLUMN review_account.account IS 'Random; what other tables say instead of the login.';
COMMENT ON COLUMN review_account.password IS 'Argon2id, with its parameters and salt (RFC 9106).';

CREATE TABLE IF NOT EXISTS review_session (
    token_digest bytea PRIMARY KEY CHECK (length(token_digest) = 32),
    session text NOT NULL UNIQUE CHECK (session ~ '^[a-z2-7]{16}$'),
    account text NOT NULL REFERENCES review_account,
    began_us bigint NOT NULL,
    used_us bigint NOT NULL,
    locked_us bigint,
    ended_us bigint
);
COMMENT ON TABLE review_session IS
    'One row a signing in. Written then, and by each later call: last use, locked since, ended. The '
    'token itself is with the browser alone.';
COMMENT ON COLUMN review_session.session IS 'Random; what the page for hospital IT says of it.';

CREATE INDEX IF NOT EXISTS review_session_by_account ON review_session (account);

CREATE TABLE IF NOT EXISTS review_attempt (
    subject bytea NOT NULL CHECK (length(subject) = 32),
    tried_us bigint NOT NULL
);
COMMENT ON TABLE review_attempt IS
    'One row a password that was tried, for each of what it is counted by: account name, address, '
    'and both together, as keyed digests. Removed when it was right, or after the time it counts for.';

CREATE INDEX IF NOT EXISTS review_attempt_by_subject ON review_attempt (subject, tried_us);

CREATE TABLE IF NOT EXISTS review_question (
    question text PRIMARY KEY CHECK (question ~ '^sha256:[0-9a-f]{64}$'),
    label text NOT NULL,
    findings text[] NOT NULL CHECK (cardinality(findings) >= 2),
    takes_many boolean NOT NULL,
    asked_us bigint NOT NULL
);
COMMENT ON TABLE review_question IS
    'One row a thing that readers are asked: the findings they choose from. Written when cases are '
    'put up for reading, by the cohort that asks it; its id is the digest of label and findings.';
COMMENT ON COLUMN review_question.takes_many IS
    'Any number of the findings, none included; else exactly one.';

CREATE TABLE IF NOT EXISTS review_case (
    case_id text PRIMARY KEY CHECK (case_id ~ '^[A-Z2-7]{4}-[A-Z2-7]{4}$'),
    question text NOT NULL REFERENCES review_question,
    study text NOT NULL CHECK (study ~ '^sha256:[0-9a-f]{64}$'),
    priority text NOT NULL CHECK (priority IN ('urgent', 'soon', 'routine')),
    readers_wanted smallint NOT NULL CHECK (readers_wanted BETWEEN 1 AND 5),
    opened_us bigint NOT NULL,
    UNIQUE (question, study)
);
COMMENT ON TABLE review_case IS
    'One row a study that is put up for reading under one question. Written by `wardround node cases '
    'open`. The case number is random: it says nothing of the patient and stands in addresses.';

CREATE TABLE IF NOT EXISTS review_claim (
    case_id text PRIMARY KEY REFERENCES review_case,
    account text NOT NULL REFERENCES review_account,
    claimed_us bigint NOT NULL,
    expires_us bigint NOT NULL
);
COMMENT ON TABLE review_claim IS
    'At most one row a case: who holds it, until when. Written when somebody claims it, moved on '
    'while they work, removed when they sign or give it back; taken over by the next once it expired.';

CREATE TABLE IF NOT EXISTS review_opening (
    session text NOT NULL REFERENCES review_session (session),
    case_id text NOT NULL REFERENCES review_case,
    study text NOT NULL,
    opened_us bigint NOT NULL,
    PRIMARY KEY (session, case_id, study)
);
COMMENT ON TABLE review_opening IS
    'One row a study that was opened in a session, written with the entry `study.opened` of the '
    'hospital''s own log. Without it no pixel of the study is sent to that session.';

CREATE TABLE IF NOT EXISTS review_draft (
    case_id text NOT NULL REFERENCES review_case,
    account text NOT NULL REFERENCES review_account,
    finding text[],
    confidence smallint CHECK (confidence BETWEEN 1 AND 5),
    comment text NOT NULL CHECK (length(comment) <= 2000),
    saved_us bigint NOT NULL,
    PRIMARY KEY (case_id, account)
);
COMMENT ON TABLE review_draft IS
    'What a reader has entered and not signed. Written while they work, removed when they sign. '
    'Outlives sessions, claims and restarts.';
COMMENT ON COLUMN review_draft.finding IS 'Null until a finding, or expressly none, was chosen.';

CREATE TABLE IF NOT EXISTS review_read (
    case_id text NOT NULL REFERENCES review_case,
    account text NOT NULL REFERENCES review_account,
    version smallint NOT NULL CHECK (version >= 1),
    is_adjudication boolean NOT NULL,
    finding text[] NOT NULL,
    confidence smallint NOT NULL CHECK (confidence BETWEEN 1 AND 5),
    comment text NOT NULL CHECK (length(comment) <= 2000),
    reason text NOT NULL CHECK (length(reason) <= 400 AND (reason <> '') = (version > 1)),
    images text NOT NULL CHECK (images ~ '^sha256:[0-9a-f]{64}$'),
    salt bytea NOT NULL CHECK (length(salt) = 32),
    entry bytea NOT NULL,
    signed_us bigint NOT NULL,
    PRIMARY KEY (case_id, account, version)
);
COMMENT ON TABLE review_read IS
    'One row a signed read, or a later version of one with the reason for it. Written once, with the '
    'signed entry of the hospital''s own log, and never changed.';
COMMENT ON COLUMN review_read.images IS 'Digest of the contents of all images of the study as read.';
COMMENT ON COLUMN review_read.salt IS 'Opens the digest of this read in its entry.';

CREATE OR REPLACE FUNCTION review_read_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a signed read stands: rows of % are neither changed nor removed', TG_TABLE_NAME;
END
$$;

CREATE OR REPLACE TRIGGER review_read_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON review_read
    FOR EACH STATEMENT EXECUTE FUNCTION review_read_stands();

CREATE OR REPLACE VIEW review_latest AS
    SELECT DISTINCT ON (case_id, account) *
    FROM review_read
    ORDER BY case_id, account, version DESC;
COMMENT ON VIEW review_latest IS 'The version of each read that counts.';

CREATE OR REPLACE VIEW review_standing AS
    SELECT
        one.case_id,
        CASE
            WHEN coalesce(bool_or(is_adjudication), false) THEN 'settled'
            WHEN count(account) < max(readers_wanted) THEN 'open'
            WHEN count(DISTINCT finding) = 1 THEN 'settled'
            ELSE 'disagreed'
        END AS standing
    FROM review_case AS one LEFT JOIN review_latest USING (case_id)
    GROUP BY one.case_id;
COMMENT ON VIEW review_standing IS
    'Where each case stands: open until enough people have read it, settled when they say the same '
    'or an adjudicator has decided, else disagreed.';
