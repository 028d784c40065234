CREATE TABLE IF NOT EXISTS ballots (
  plan_id text PRIMARY KEY,
  plan bytea NOT NULL,
  ballot bytea NOT NULL,
  salt bytea NOT NULL,
  entry bytea NOT NULL,
  patients_noised integer,
  voted_us bigint NOT NULL
);
COMMENT ON TABLE ballots IS
  'Written once per plan when this hospital votes, with the entry that says so: plan and ballot are '
  'canonical bytes, entry the signed log entry, salt what opens the ballot''s manifest and never '
  'leaves, patients_noised the count that was billed and told. An order must carry this very ballot.';

CREATE TABLE IF NOT EXISTS ballot_patients (
  plan_id text NOT NULL REFERENCES ballots,
  pseudonym text NOT NULL,
  partition text NOT NULL CHECK (partition IN ('train', 'held-out')),
  PRIMARY KEY (plan_id, pseudonym)
);
COMMENT ON TABLE ballot_patients IS
  'Written with a ballot that approves: whose images its manifest binds. Says, when a patient is '
  'withdrawn, which plans and models had them. For this hospital''s eyes.';

CREATE INDEX IF NOT EXISTS ballot_patients_by_patient ON ballot_patients (pseudonym);

CREATE TABLE IF NOT EXISTS approvals (
  plan_id text PRIMARY KEY REFERENCES ballots,
  entry bytea NOT NULL,
  approved_us bigint NOT NULL
);
COMMENT ON TABLE approvals IS
  'Written once per plan when a person approves what this hospital''s system had voted for: the '
  'signed entry of the hospital''s own log that says so.';

CREATE TABLE IF NOT EXISTS answers (
  run_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('train', 'evaluate')),
  round integer NOT NULL CHECK (round >= 0),
  warrant_digest text NOT NULL,
  answer bytea,
  packed bytea,
  started_us bigint NOT NULL,
  answered_us bigint,
  PRIMARY KEY (run_id, kind, round),
  CHECK ((answer IS NULL) = (answered_us IS NULL))
);
COMMENT ON TABLE answers IS
  'Written when work on an order begins, in the transaction of its charge, and once more with the '
  'answer before that leaves. A row without an answer is work that a crash cut off: it was paid '
  'for and nothing left. Training is not done again; an evaluation is, under the same charge.';

CREATE TABLE IF NOT EXISTS reports (
  run_id text PRIMARY KEY,
  plan_id text NOT NULL,
  report jsonb NOT NULL,
  made_us bigint NOT NULL
);
COMMENT ON TABLE reports IS
  'Written when a candidate was judged on this hospital''s held-out patients. True counts and '
  'curves: for this hospital''s eyes, never sent.';
