"""Verifying: what can be told of a log offline, with the standard library and `cryptography`."""
