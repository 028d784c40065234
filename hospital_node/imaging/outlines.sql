-- What segmentations (DICOM SEG) outline. Written when they are taken in, read by scans and cohorts.
-- Nothing here names a patient but the path of a file, which never leaves this database.

CREATE TABLE IF NOT EXISTS imaging_outline (
    path text PRIMARY KEY,
    stamp text NOT NULL CHECK (stamp ~ '^sha256:[0-9a-f]{64}$'),
    fault text NOT NULL,
    content_digest text NOT NULL CHECK (content_digest ~ '^sha256:[0-9a-f]{64}$'),
    pseudonym text NOT NULL CHECK (pseudonym = '' OR pseudonym ~ '^[0-9a-f]{64}$'),
    segments jsonb NOT NULL CHECK (jsonb_typeof(segments) = 'object'),
    unknown integer NOT NULL CHECK (unknown >= 0),
    CHECK ((fault = '') = (pseudonym <> ''))
);
COMMENT ON TABLE imaging_outline IS
    'One row a file below the folder that is a segmentation: taken, or why not. Written when it is '
    'new or changed, or when the table of structures in the settings is; removed when the file goes.';
COMMENT ON COLUMN imaging_outline.path IS 'May identify the patient.';
COMMENT ON COLUMN imaging_outline.stamp IS
    'Keyed digest of the file''s bytes and of the table of structures that they were read by.';
COMMENT ON COLUMN imaging_outline.fault IS 'Why it outlines nothing; empty where it does.';
COMMENT ON COLUMN imaging_outline.segments IS 'Numbers of segments, by structure.';
COMMENT ON COLUMN imaging_outline.unknown IS 'Segments that are of no structure of the table.';

CREATE TABLE IF NOT EXISTS imaging_outline_image (
    path text NOT NULL REFERENCES imaging_outline ON DELETE CASCADE,
    instance text NOT NULL CHECK (instance ~ '^sha256:[0-9a-f]{64}$'),
    rows_px integer NOT NULL CHECK (rows_px > 0),
    columns_px integer NOT NULL CHECK (columns_px > 0),
    plane double precision[] CHECK (cardinality(plane) = 11),
    PRIMARY KEY (path, instance)
);
COMMENT ON TABLE imaging_outline_image IS
    'One row an image that a segmentation is about, whether anything is found in it or not. Written '
    'with the segmentation.';
COMMENT ON COLUMN imaging_outline_image.instance IS 'Keyed digest of the image''s SOPInstanceUID.';
COMMENT ON COLUMN imaging_outline_image.plane IS
    'Position, cosines of a row and of a column, spacing. Null where the segmentation is silent.';

CREATE INDEX IF NOT EXISTS imaging_outline_by_image ON imaging_outline_image (instance);
