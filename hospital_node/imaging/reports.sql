-- What reports (DICOM SR) say of images. Written when reports are taken in, read by scans.
-- Nothing here names a patient but the path of a file, which never leaves this database.

CREATE TABLE IF NOT EXISTS imaging_report (
    place text NOT NULL CHECK (place IN ('images', 'reports')),
    path text NOT NULL,
    stamp text NOT NULL CHECK (stamp ~ '^sha256:[0-9a-f]{64}$'),
    fault text NOT NULL,
    report text NOT NULL CHECK (report = '' OR report ~ '^sha256:[0-9a-f]{64}$'),
    pseudonym text NOT NULL CHECK (pseudonym = '' OR pseudonym ~ '^[0-9a-f]{64}$'),
    replaces text[] NOT NULL,
    PRIMARY KEY (place, path),
    CHECK ((fault = '') = (report <> '' AND pseudonym <> ''))
);
COMMENT ON TABLE imaging_report IS
    'One row a file that is a report: taken, or why not. Written when it is new or changed, or when '
    'the table of codes in the settings is; removed when the file goes.';
COMMENT ON COLUMN imaging_report.place IS 'Which folder of the settings the path starts from.';
COMMENT ON COLUMN imaging_report.path IS 'May identify the patient.';
COMMENT ON COLUMN imaging_report.stamp IS
    'Keyed digest of the file''s bytes and of the table of codes that they were read by.';
COMMENT ON COLUMN imaging_report.fault IS 'Why it gives no label; empty where it does.';
COMMENT ON COLUMN imaging_report.report IS 'Keyed digest of its SOPInstanceUID.';
COMMENT ON COLUMN imaging_report.replaces IS
    'Keyed digests of the reports that it is a later version of.';

CREATE TABLE IF NOT EXISTS imaging_report_label (
    place text NOT NULL,
    path text NOT NULL,
    instance text NOT NULL CHECK (instance ~ '^sha256:[0-9a-f]{64}$'),
    labels jsonb NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
    PRIMARY KEY (place, path, instance),
    FOREIGN KEY (place, path) REFERENCES imaging_report ON DELETE CASCADE
);
COMMENT ON TABLE imaging_report_label IS
    'One row an image of which a report says something. Written with the report.';
COMMENT ON COLUMN imaging_report_label.instance IS 'Keyed digest of the image''s SOPInstanceUID.';
COMMENT ON COLUMN imaging_report_label.labels IS 'Labels by column, of the table in the settings.';
