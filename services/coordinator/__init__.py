"""Rounds: opened on the record, collected as replies arrive, closed or abandoned truthfully."""
