"""What the parties say to each other: pure values, one canonical byte form, one digest.

Nothing here does I/O, tells the time or makes randomness, and nothing here knows Flower, PostgreSQL
or the audit log. A record that crosses a trust boundary is written once, here.
"""
