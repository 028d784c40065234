"""Searching: the side of the log that can be asked, filled a moment after the entries."""
