"""Images: from a folder of DICOM to the patients a plan trains on.

Every file of the folder ends in the index under its patient's pseudonym, or in quarantine with a
reason a person can read. What identifies a patient stays in the file it came in.
"""
