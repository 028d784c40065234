"""Ordering: entries get their places, are stored, and stand under a signed tree."""
