"""The centre's part: proposes plans, opens rounds, sums updates, and never sees a pixel.

The centre decides nothing alone: hospitals' ballots make a plan active, and each of its own acts
is on the record, signed and witnessed, before it has effect.
"""
