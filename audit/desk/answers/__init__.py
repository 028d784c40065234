"""Answers: what auditors ask, told from entries; each claim names those it rests on."""
