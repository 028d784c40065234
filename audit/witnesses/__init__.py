"""Witnesses: those who cosign, what they saw last, and what they hold against a log that forks."""
