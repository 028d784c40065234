"""Exports: the record as files, each tied to the checkpoint it was taken under."""
