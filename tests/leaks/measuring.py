"""Leaks by place: of the library alone, of the policy alone, and of policy and re-scan.

Run as `python -m leaks.measuring` with `tests` on the path; prints the table of the README.
"""

import copy
import random
import sys
import warnings
from dataclasses import dataclass
from io import BytesIO

from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions
from leaks.planting import PEOPLE, PLACES, Planter, Traces, person, plain_image
from leaks.searching import traces_left
from leaks.streams import STREAMS
from pydicom import dcmread
from pydicom.dataset import Dataset

from hospital_node.imaging.deidentify import copies_key
from hospital_node.imaging.deidentify.clear import Left, copy_of, unsearched_copy_of
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.pixels import decode_frame

KEY = copies_key(b"a pseudonym key for tests, 32 by")
EVERYWHERE: dict[str, Planter] = {"header alone": lambda *_: None, **PLACES, **STREAMS}


@dataclass
class Tally:
    """Of the images with traces in one place, how many still show one."""

    images: int = 0
    library: int = 0
    policy: int = 0
    held: int = 0
    undetected: int = 0


def planted(place: str, number: int, seed: int) -> tuple[bytes, Traces]:
    """A file with traces in one place, and whose they are."""
    rng = random.Random(f"{seed}/{place}/{number}")
    who = person(rng, number)
    made = plain_image(who, rng)
    EVERYWHERE[place](made, who, rng)
    written = BytesIO()
    made.save_as(written, enforce_file_format=True)
    return written.getvalue(), who


def by_library(instance: Dataset) -> bytes:
    """The library's own copy, as its users make it."""
    alone = copy.deepcopy(instance)
    try:
        anonymize_dataset(alone, base_rules_gen=lambda: initialize_actions("dicomfields_2026c"))
    except Exception:  # noqa: BLE001 - what it cannot treat, its users keep or drop; counted as kept
        alone = instance
    written = BytesIO()
    alone.save_as(written, enforce_file_format=True)
    return written.getvalue()


def measure(seed: int, per_place: int) -> dict[str, Tally]:
    """Every place, `per_place` people each."""
    tallies = {place: Tally() for place in EVERYWHERE}
    for place, tally in tallies.items():
        for number in range(per_place):
            content, who = planted(place, number, seed)
            count(tally, content, who)
    return tallies


def count(tally: Tally, content: bytes, who: Traces) -> None:
    """Add one file to a tally."""
    instance = dcmread(BytesIO(content))
    stored = decode_frame(instance)
    tally.images += 1
    tally.library += bool(traces_left(by_library(instance), who))
    instance = dcmread(BytesIO(content))
    made = unsearched_copy_of(instance, stored, key=KEY, profile=profile_of())
    leaks = bool(traces_left(made, who))
    is_held = isinstance(copy_of(instance, stored, key=KEY, profile=profile_of()), Left)
    tally.policy += leaks
    tally.held += is_held
    tally.undetected += leaks and not is_held


def print_table(tallies: dict[str, Tally]) -> None:
    """The table in Markdown."""
    print("| planted in | images | library alone leaks | policy leaks | held back | undetected |")
    print("|---|---|---|---|---|---|")
    for place, t in [*tallies.items(), ("all", total(tallies))]:
        print(f"| {place} | {t.images} | {t.library} | {t.policy} | {t.held} | {t.undetected} |")


def total(tallies: dict[str, Tally]) -> Tally:
    """All places together."""
    every = tallies.values()
    return Tally(
        sum(t.images for t in every),
        sum(t.library for t in every),
        sum(t.policy for t in every),
        sum(t.held for t in every),
        sum(t.undetected for t in every),
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print_table(measure(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else len(PEOPLE)))
