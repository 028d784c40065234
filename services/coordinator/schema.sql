CREATE TABLE IF NOT EXISTS models (
  digest text PRIMARY KEY,
  packed bytea NOT NULL
);
COMMENT ON TABLE models IS
  'Written by the coordinator: the model a run starts from and the one each closed round makes.';

CREATE TABLE IF NOT EXISTS runs (
  run_id text PRIMARY KEY,
  plan_id text NOT NULL REFERENCES plans,
  state text NOT NULL CHECK (state IN ('running', 'completed', 'halted')),
  model_digest text NOT NULL REFERENCES models,
  explanation text NOT NULL DEFAULT '',
  candidate bytea,
  created_us bigint NOT NULL,
  ended_us bigint,
  CHECK ((state = 'running') = (ended_us IS NULL))
);
COMMENT ON TABLE runs IS
  'Written by the coordinator when a run begins, when a round gives it a new model, when its model is '
  'put on the record as a candidate (the signed entry), and at its end.';

CREATE TABLE IF NOT EXISTS rounds (
  run_id text NOT NULL REFERENCES runs,
  number integer NOT NULL CHECK (number > 0),
  state text NOT NULL CHECK (state IN ('pending', 'open', 'closed', 'abandoned')),
  opening bytea,
  entry bytea,
  closing bytea,
  changed_us bigint NOT NULL,
  PRIMARY KEY (run_id, number),
  CHECK (state <> 'open' OR (opening IS NOT NULL AND entry IS NOT NULL)),
  CHECK ((state IN ('closed', 'abandoned')) = (closing IS NOT NULL))
);
COMMENT ON TABLE rounds IS
  'Written by the coordinator at each change of a round''s state, with the event that says so; '
  'opening and closing are the canonical bytes of the records in those events, entry is the signed '
  'opening as the log has it, with which a round goes on after a stop.';

CREATE TABLE IF NOT EXISTS exclusions (
  run_id text NOT NULL,
  number integer NOT NULL,
  site text NOT NULL,
  record bytea NOT NULL,
  PRIMARY KEY (run_id, number, site),
  FOREIGN KEY (run_id, number) REFERENCES rounds
);
COMMENT ON TABLE exclusions IS
  'Written by the coordinator with the event that says a site is not in a round, and why: it stays '
  'out also when the round goes on after a stop.';

CREATE TABLE IF NOT EXISTS updates (
  run_id text NOT NULL,
  number integer NOT NULL,
  site text NOT NULL,
  place integer,
  digest text NOT NULL,
  packed bytea NOT NULL,
  receipt bytea NOT NULL,
  PRIMARY KEY (run_id, number, site),
  UNIQUE (run_id, number, place),
  FOREIGN KEY (run_id, number) REFERENCES rounds
);
ALTER TABLE updates ALTER COLUMN packed SET STORAGE EXTERNAL; -- noise does not compress; read in strips
COMMENT ON TABLE updates IS
  'Written by the coordinator as updates arrive, without a place; given one when their charge is on '
  'the log and they are aggregated, deleted when they are not. They carry the sites'' noise already, so '
  'keeping them tells nothing more, and any aggregate can be computed again in the order of place.';

CREATE TABLE IF NOT EXISTS evaluations (
  run_id text NOT NULL REFERENCES runs,
  site text NOT NULL,
  reason text NOT NULL,
  explanation text NOT NULL,
  receipt bytea NOT NULL,
  PRIMARY KEY (run_id, site)
);
COMMENT ON TABLE evaluations IS
  'Written by the coordinator: how each site answered the order to evaluate the candidate; receipt '
  'is empty where a site released no figures.';
