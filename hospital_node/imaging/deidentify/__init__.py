"""De-identification: what is done to a file's header, and the guards that nothing has been left.

The policy makes a copy of what may stay; the re-scan, which shares no code with it, looks for what
should have gone; the gate holds back pictures that may have writing in them.
"""

from hospital_node.imaging.deidentify.gate import Annotation, annotation_of, may_show_identity
from hospital_node.imaging.deidentify.pseudonyms import (
    copies_key,
    group_digest,
    instance_digest,
    pseudonym,
)

__all__ = [
    "Annotation",
    "annotation_of",
    "copies_key",
    "group_digest",
    "instance_digest",
    "may_show_identity",
    "pseudonym",
]
