"""What the commands show: plans, budget and reports as JSON objects."""

from typing import Any

from hospital_node import store
from hospital_node.local_events import Figures, FiguresShown, figures_shown
from hospital_node.policy import Forbidden
from hospital_node.site import Site
from hospital_node.voting import ProposedPlan


def plan_view(proposed: ProposedPlan) -> dict[str, Any]:
    """A proposed plan and how this hospital stands to it."""
    plan, verdict = proposed.plan, proposed.verdict
    return {
        "plan_id": plan.id,
        "title": plan.title,
        "purpose": plan.purpose,
        "epsilon": float(plan.privacy.epsilon),
        "delta": plan.privacy.delta,
        "rounds": plan.rounds,
        "epsilon_spent": proposed.spent,
        "epsilon_cap": proposed.cap,
        "policy": verdict.explanation if isinstance(verdict, Forbidden) else "permits it",
        "vote": None if proposed.choice is None else str(proposed.choice),
    }


def note_shown(site: Site, figures: Figures, rows: int) -> None:
    """Put on this hospital's own record that somebody was shown its figures."""
    event = figures_shown(FiguresShown(figures=figures, rows=rows), site.person("look"))
    with site.pool.connection() as connection:
        site.local.append(connection, event)


def report_view(site: Site) -> list[dict[str, Any]]:
    """This hospital's own reports, the newest first."""
    with site.pool.connection() as connection:
        return list(store.load_reports(connection))
