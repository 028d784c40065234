CREATE TABLE IF NOT EXISTS plans (
  plan_id text PRIMARY KEY,
  content bytea NOT NULL,
  state text NOT NULL CHECK (state IN ('proposed', 'active', 'withdrawn')),
  signers text[] NOT NULL DEFAULT '{}',
  ballots bytea[] NOT NULL DEFAULT '{}',
  proposed_us bigint NOT NULL,
  CHECK (state <> 'active' OR cardinality(signers) > 0)
);
COMMENT ON TABLE plans IS
  'Written by the registry when a plan is proposed, once more when its ballots make it active, '
  'and when it is taken back; '
  'content is the plan''s canonical bytes, ballots the signed log entries that decided.';
