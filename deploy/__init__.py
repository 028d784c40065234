"""Puts the house together: provisioning, supervision, the demo and the containers.

It starts what the parties installed and knows no rule of theirs: everything it does, an operator
could do by hand with the same commands and the same files.
"""
