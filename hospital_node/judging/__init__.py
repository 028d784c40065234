"""Judging: how well models do for this hospital's own held-out patients. Nothing here leaves."""
