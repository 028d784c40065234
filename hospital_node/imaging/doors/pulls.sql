-- What has been fetched from the PACS, so that a pull goes on where it stopped.

CREATE TABLE IF NOT EXISTS imaging_pull (
    pull text NOT NULL,
    series text NOT NULL CHECK (series ~ '^sha256:[0-9a-f]{64}$'),
    state text NOT NULL CHECK (state IN ('fetched', 'failed')),
    instances integer NOT NULL CHECK (instances >= 0),
    attempts integer NOT NULL CHECK (attempts > 0),
    changed_us bigint NOT NULL,
    PRIMARY KEY (pull, series)
);
COMMENT ON TABLE imaging_pull IS
    'One row a series that a pull of the settings has asked the PACS for. Written after each attempt.';
COMMENT ON COLUMN imaging_pull.series IS 'Keyed digest of the SeriesInstanceUID.';
COMMENT ON COLUMN imaging_pull.instances IS 'How many came with the last attempt.';

CREATE TABLE IF NOT EXISTS imaging_pull_day (
    pull text NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (pull, day)
);
COMMENT ON TABLE imaging_pull_day IS
    'One row a day of studies of which a pull has everything it can get. Written when a day is done.';
