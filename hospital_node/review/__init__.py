"""The review page: where the hospital's clinicians look at images, read, judge and sign.

It runs inside the hospital and serves the hospital's own network alone. The one rule: pixels and
reads go to people of this hospital who have signed in, and what they look at is on record first.
"""
