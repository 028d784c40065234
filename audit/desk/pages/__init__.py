"""The pages: what people beside the auditors' API see, rendered from the same answers.

Values in, text out: no module here speaks HTTP or SQL.
"""
