"""The auditors' desk: what people may ask of the log, each question itself on the record.

A process of its own beside the log's: it reads the log's database, holds the audit member's event
key and never the log's, and answers nothing that it has not first recorded.
"""
