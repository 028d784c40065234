"""Payloads: what entries commit to, kept beside the tree until it is removed."""
