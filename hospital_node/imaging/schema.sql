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
    path text NOT NULL UNIQUE,
    content_digest text NOT NULL CHECK (content_digest ~ '^sha256:[0-9a-f]{64}$'),
    modality text NOT NULL,
    sop_class text NOT NULL,
    transfer_syntax text NOT NULL,
    rows_px integer NOT NULL CHECK (rows_px > 0),
    columns_px integer NOT NULL CHECK (columns_px > 0),
    bits_stored integer NOT NULL CHECK (bits_stored BETWEEN 1 AND 16),
    labels jsonb NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
    indexed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE imaging_instance IS
    'One row an image that decodes, has a patient and a label. Written by scans.';
COMMENT ON COLUMN imaging_instance.instance IS 'Keyed digest of the SOPInstanceUID.';
COMMENT ON COLUMN imaging_instance.path IS 'Below the folder; may identify the patient.';

CREATE INDEX IF NOT EXISTS imaging_instance_by_patient ON imaging_instance (pseudonym);

CREATE TABLE IF NOT EXISTS imaging_quarantine (
    path text PRIMARY KEY,
    content_digest text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE imaging_quarantine IS
    'One row a file that is not used, and why. Written by scans. An empty digest means that the '
    'file could not even be read.';
COMMENT ON COLUMN imaging_quarantine.path IS 'Below the folder; may identify the patient.';
