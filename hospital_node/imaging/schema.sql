-- The image index of one hospital. Written by a scan of its folder, read when a cohort is selected.
-- Nothing here names a patient but the path of a file, which never leaves this database.

CREATE TABLE IF NOT EXISTS imaging_folder (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    folder text NOT NULL
);
COMMENT ON TABLE imaging_folder IS
    'The folder that all paths start from. Written by each scan.';

CREATE TABLE IF NOT EXISTS imaging_patient (
    pseudonym text PRIMARY KEY CHECK (pseudonym ~ '^[0-9a-f]{64}$'),
    partition text NOT NULL CHECK (partition IN ('train', 'held-out'))
);
COMMENT ON TABLE imaging_patient IS
    'One row a patient who was ever indexed. Written once, by the first scan that indexes an image of '
    'theirs, and kept when their images are gone. The partition is here and not at the image, and '
    'does not change, so that nobody can be trained on and held out, neither at once nor in turn.';

CREATE TABLE IF NOT EXISTS imaging_instance (
    instance text PRIMARY KEY CHECK (instance ~ '^sha256:[0-9a-f]{64}$'),
    pseudonym text NOT NULL REFERENCES imaging_patient,
    study text NOT NULL CHECK (study ~ '^sha256:[0-9a-f]{64}$'),
    series text NOT NULL CHECK (series ~ '^sha256:[0-9a-f]{64}$'),
    path text NOT NULL UNIQUE,
    fingerprint text NOT NULL CHECK (fingerprint ~ '^mac:[0-9a-f]{64}$'),
    modality text NOT NULL,
    body_part text NOT NULL,
    view_position text NOT NULL,
    studied text NOT NULL CHECK (studied ~ '^([0-9]{4}-(0[1-9]|1[0-2]))?$'),
    age_years smallint CHECK (age_years BETWEEN 0 AND 90),
    sop_class text NOT NULL,
    transfer_syntax text NOT NULL,
    rows_px integer NOT NULL CHECK (rows_px > 0),
    columns_px integer NOT NULL CHECK (columns_px > 0),
    frames integer NOT NULL CHECK (frames > 0),
    bits_stored integer NOT NULL CHECK (bits_stored BETWEEN 1 AND 32),
    spacing_mm double precision[] CHECK (cardinality(spacing_mm) = 2),
    position_mm double precision[] CHECK (cardinality(position_mm) = 3),
    orientation double precision[] CHECK (cardinality(orientation) = 6),
    labels jsonb NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
    indexed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE imaging_instance IS
    'One row an image that decodes, has a patient and a label. Written by the first pass of scans and '
    'of the doors. Nothing uses it until it is in imaging_fit.';
COMMENT ON COLUMN imaging_instance.instance IS 'Keyed digest of the SOPInstanceUID.';
COMMENT ON COLUMN imaging_instance.study IS 'Keyed digest of the StudyInstanceUID.';
COMMENT ON COLUMN imaging_instance.series IS 'Keyed digest of the SeriesInstanceUID.';
COMMENT ON COLUMN imaging_instance.path IS 'Below the folder; may identify the patient.';
COMMENT ON COLUMN imaging_instance.fingerprint IS
    'Stands for the file''s bytes, under the hospital''s key; here and nowhere else.';
COMMENT ON COLUMN imaging_instance.body_part IS 'BodyPartExamined; empty where the file is silent.';
COMMENT ON COLUMN imaging_instance.view_position IS 'ViewPosition; empty where the file is silent.';
COMMENT ON COLUMN imaging_instance.studied IS
    'Year and month of the study; no day is kept. Empty where the file is silent.';
COMMENT ON COLUMN imaging_instance.age_years IS
    'Whole years at the study; 90 stands for 90 and more. Null where the file is silent.';
COMMENT ON COLUMN imaging_instance.spacing_mm IS 'Between rows, between columns; null where unknown.';
COMMENT ON COLUMN imaging_instance.position_mm IS
    'ImagePositionPatient: what orders the images of a series. Null where unknown.';
COMMENT ON COLUMN imaging_instance.orientation IS
    'ImageOrientationPatient: direction cosines of a row, then of a column. Null where unknown.';

CREATE INDEX IF NOT EXISTS imaging_instance_by_patient ON imaging_instance (pseudonym);
CREATE INDEX IF NOT EXISTS imaging_instance_by_series ON imaging_instance (series);
CREATE INDEX IF NOT EXISTS imaging_instance_by_study ON imaging_instance (study);
CREATE INDEX IF NOT EXISTS imaging_instance_by_content ON imaging_instance (fingerprint);

CREATE TABLE IF NOT EXISTS imaging_copy (
    path text PRIMARY KEY,
    fingerprint text NOT NULL CHECK (fingerprint ~ '^mac:[0-9a-f]{64}$'),
    instance text NOT NULL CHECK (instance ~ '^sha256:[0-9a-f]{64}$')
);
COMMENT ON TABLE imaging_copy IS
    'One row a file that holds the bytes of an indexed image once more, as when a PACS sends it '
    'again. Written by scans; used when the other file goes.';
COMMENT ON COLUMN imaging_copy.path IS 'Below the folder; may identify the patient.';

CREATE TABLE IF NOT EXISTS imaging_clearance (
    fingerprint text NOT NULL CHECK (fingerprint ~ '^mac:[0-9a-f]{64}$'),
    profile text NOT NULL CHECK (profile ~ '^sha256:[0-9a-f]{64}$'),
    content_digest text NOT NULL CHECK (content_digest ~ '^sha256:[0-9a-f]{64}$'),
    reason text NOT NULL CHECK (reason IN ('', 'identifier-left', 'not-cleared')),
    detail text NOT NULL,
    counts jsonb NOT NULL CHECK (jsonb_typeof(counts) = 'object'),
    cleared_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (fingerprint, profile)
);
COMMENT ON TABLE imaging_clearance IS
    'One row a content that was de-identified under a profile, for trial: how many attributes that '
    'keeps, removes, replaces, and whether anything would be left of the patient. Written once, by '
    'the second pass of scans, and kept when the file goes.';
COMMENT ON COLUMN imaging_clearance.profile IS 'Digest of the rules; other rules, another row.';
COMMENT ON COLUMN imaging_clearance.content_digest IS 'What ballots and releases bind.';
COMMENT ON COLUMN imaging_clearance.reason IS
    'Empty where the content is cleared; else why it waits in quarantine.';

CREATE INDEX IF NOT EXISTS imaging_clearance_by_digest ON imaging_clearance (content_digest);

CREATE TABLE IF NOT EXISTS imaging_consent (
    pseudonym text PRIMARY KEY CHECK (pseudonym ~ '^[0-9a-f]{64}$'),
    answer text NOT NULL CHECK (answer IN ('consented', 'opted-out'))
);
COMMENT ON TABLE imaging_consent IS
    'One row a patient of whom the hospital''s consent file says something. Written whole by each '
    'scan from that file; a patient may be here before any image is.';

CREATE TABLE IF NOT EXISTS imaging_withdrawal (
    pseudonym text PRIMARY KEY CHECK (pseudonym ~ '^[0-9a-f]{64}$'),
    ground text NOT NULL,
    withdrawn_us bigint NOT NULL
);
COMMENT ON TABLE imaging_withdrawal IS
    'One row a patient whose images are used no more, whatever the consent file says. Written once, '
    'by a withdrawal, with the entries that say so, and never changed.';

CREATE OR REPLACE FUNCTION imaging_withdrawal_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a withdrawal stands: rows of % are neither changed nor removed', TG_TABLE_NAME;
END
$$;

CREATE OR REPLACE TRIGGER imaging_withdrawal_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON imaging_withdrawal
    FOR EACH STATEMENT EXECUTE FUNCTION imaging_withdrawal_stands();

CREATE TABLE IF NOT EXISTS imaging_quarantine (
    path text PRIMARY KEY,
    fingerprint text NOT NULL,
    content_digest text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE imaging_quarantine IS
    'One row a file that is not used, and why. Written by scans. An empty fingerprint means that '
    'the file could not even be read; a digest is there where a person may let it out.';
COMMENT ON COLUMN imaging_quarantine.path IS 'Below the folder; may identify the patient.';

CREATE TABLE IF NOT EXISTS imaging_release (
    content_digest text NOT NULL CHECK (content_digest ~ '^sha256:[0-9a-f]{64}$'),
    reason text NOT NULL,
    because text NOT NULL CHECK (because <> ''),
    released_by text NOT NULL,
    released_us bigint NOT NULL,
    PRIMARY KEY (content_digest, reason)
);
COMMENT ON TABLE imaging_release IS
    'One row a file that a person has looked at and let out of quarantine. It holds for those very '
    'bytes and for the reason that they lay there for, and for no other. Written when they say so; '
    'read by the next scan.';
COMMENT ON COLUMN imaging_release.because IS 'What the person saw; for this hospital''s eyes.';
COMMENT ON COLUMN imaging_release.released_by IS 'The person''s pseudonymous key id.';

CREATE TABLE IF NOT EXISTS imaging_receipt (
    study text NOT NULL CHECK (study ~ '^sha256:[0-9a-f]{64}$'),
    policy text NOT NULL CHECK (policy ~ '^sha256:[0-9a-f]{64}$'),
    receipt bytea NOT NULL,
    made_us bigint NOT NULL,
    PRIMARY KEY (study, policy)
);
COMMENT ON TABLE imaging_receipt IS
    'One row a study that was de-identified under a policy: the canonical bytes of the receipt.';

CREATE OR REPLACE VIEW imaging_fit AS
    SELECT
        instance,
        profile,
        content_digest,
        counts,
        EXISTS (
            SELECT FROM imaging_release WHERE content_digest = clearance.content_digest
        ) AS is_released
    FROM imaging_instance JOIN imaging_clearance AS clearance USING (fingerprint)
    WHERE clearance.reason = '' OR EXISTS (
        SELECT FROM imaging_release
        WHERE content_digest = clearance.content_digest AND reason = clearance.reason
    );
COMMENT ON VIEW imaging_fit IS
    'The indexed images that may be used under a profile: their content is cleared, or a person has '
    'let it out. Whatever selects, counts or commits to images reads them here.';
