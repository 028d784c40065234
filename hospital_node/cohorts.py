"""Cohorts as this hospital's people see them: what a cohort selects here, and what ballots bind.

The one rule: a figure is marked by where it may go. True counts are for this hospital's eyes; what
a vote tells is one noised count, and that is billed.
"""

import json
from pathlib import Path
from typing import Any

from hospital_node import store
from hospital_node.database import Connection
from hospital_node.errors import CohortError, ConfigurationError, VoteError
from hospital_node.imaging import dataset, index
from hospital_node.imaging.targets import count_answers
from hospital_node.site import Site
from hospital_node.store import CastBallot
from hospital_node.training.accountant import epsilon
from hospital_node.training.release import counting
from hospital_node.voting import plans
from protocol.budget import Partition
from protocol.errors import ProtocolError
from protocol.plan import Cohort, Plan, Task
from protocol.record import decimal_text

STANDS = "stands"
WITHDRAWN = "ended: patients were withdrawn; a new plan is needed"
CHANGED = "held up: the images are no longer those that were bound; scan, or ask for a new plan"


def preview(site: Site, cohort: Cohort, *, delta: str) -> dict[str, Any]:
    """What `cohort` would select here now, and what a vote on it would tell and cost.

    Raises:
        CohortError: nothing answers to it.
    """
    with site.pool.connection() as connection:
        found = dataset.look_up(connection, cohort, mode=site.policy.consent)
        barred = index.count_barred(connection, mode=site.policy.consent)
    told = counting(float(site.policy.count_noise_multiplier))
    return {
        "cohort": cohort.to_json(),
        "consent_mode": str(site.policy.consent),
        "never_leaves": {
            "patients_train": len(found.train),
            **_answers(found, cohort),
            "patients_held_out": len(found.held_out),
            "images": len(found.images),
            "patients_barred": barred,
        },
        "told_by_a_vote": {
            "what": "the number of training patients, noised",
            "noise_multiplier": told.noise_multiplier,
            "epsilon": epsilon([told], float(delta)),
            "delta": delta,
        },
    }


def _answers(found: dataset.Found, cohort: Cohort) -> dict[str, Any]:
    """How many training patients each answer is right for, and whom the labels kept out."""
    counts = count_answers([patient.label for patient in found.train], cohort)
    if cohort.task is Task.BINARY:
        return {"patients_train_positive": counts[cohort.positive]}
    return {
        "patients_train_by_class": counts,
        "images_of_other_labels": found.left_out.images_of_other_labels,
        "patients_of_two_classes": found.left_out.patients_of_two_classes,
    }


def asked(site: Site, path: Path | None, plan_id: str) -> tuple[Cohort, str]:
    """The cohort of a file or of a proposed plan, and the δ that goes with it.

    Raises:
        ConfigurationError: the file is missing or holds no cohort, or neither was named.
        VoteError: the log holds no such plan.
        AuditError: the log cannot be read.
    """
    if path is None:
        proposed = next((one for one in plans(site) if one.plan.id == plan_id), None)
        if proposed is None:
            raise VoteError(
                f"the log holds no plan {plan_id or '(none was named)'} that invites {site.name}; "
                "name a plan with --plan, or a file with a cohort"
            )
        return proposed.plan.cohort, proposed.plan.privacy.delta
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "cohort" in content:
            plan = Plan.from_json(content)
            return plan.cohort, plan.privacy.delta
        return Cohort.from_json(content), decimal_text(site.policy.delta_max)
    except OSError as cause:
        raise ConfigurationError(f"{path}: {cause.strerror}") from cause
    except (ValueError, ProtocolError) as cause:
        raise ConfigurationError(f"{path} holds no cohort and no plan: {cause}") from cause


def bound(site: Site) -> list[dict[str, Any]]:
    """Every ballot that binds images of this hospital, and whether it still holds."""
    with site.pool.connection() as connection:
        return [_row(connection, site, cast) for cast in store.load_approvals(connection)]


def _row(connection: Connection, site: Site, cast: CastBallot) -> dict[str, Any]:
    counts = store.count_bound(connection, cast.plan.id)
    return {
        "plan_id": cast.plan.id,
        "title": cast.plan.title,
        "manifest": cast.ballot.manifest,
        "state": _state(connection, site, cast),
        "told": {"patients_noised": cast.patients_noised},
        "never_leaves": {
            "patients_train": counts[Partition.TRAIN],
            "patients_held_out": counts[Partition.HELD_OUT],
            "patients_withdrawn": store.count_withdrawn(connection, cast.plan.id),
        },
    }


def _state(connection: Connection, site: Site, cast: CastBallot) -> str:
    if store.count_withdrawn(connection, cast.plan.id):
        return WITHDRAWN
    try:
        now = dataset.select(
            connection,
            cast.plan.cohort,
            salt=cast.salt,
            mode=site.policy.consent,
            kind=dataset.kind_of(cast.plan.preprocessing),
        ).manifest
    except CohortError:
        return CHANGED
    return STANDS if now == cast.ballot.manifest else CHANGED
