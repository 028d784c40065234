"""Doors: every way in which images come to this hospital's node.

The one rule: a door hands over complete files and nothing else. It parses no image, judges none,
and what it has acknowledged is on the disk.
"""
