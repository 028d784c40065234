"""Stories for the pages: a long one with many hospitals, and text that means harm."""

from audit_story import Story, digest

from protocol.event import Event

SITES = tuple(f"site-{number:02}" for number in range(1, 21))


def lineage_of(story: Story, *, sites: int, rounds: int) -> str:
    """Write a run of so many hospitals and rounds, as the centre tells it; its model's digest.

    The hospitals beyond the story's are only named: nobody signs for them.
    """
    named = SITES[:sites]
    for number in range(1, rounds + 1):
        taking = [site for at, site in enumerate(named) if (at + number) % 7]
        story.write("centre", _event("round.opened", number, sites=list(named), **_models(number)))
        left = [{"site": site, "reason": "late"} for site in named if site not in taking]
        aggregate = digest(f"long {number}")
        body = {"participants": taking, "exclusions": left, "aggregate_digest": aggregate}
        story.write("centre", _event("round.closed", number, **body))
    last = digest(f"long {rounds}")
    story.write("centre", _event("model.candidate", rounds, model_digest=last))
    for at, site in enumerate(named[:4]):
        kind = "read.signed" if at % 2 else "evaluation.released"
        story.write("centre", _event(kind, 0, site=site, model_digest=last))
    story.write("centre", _event("model.released", rounds, model_digest=last))
    return last


def _models(number: int) -> dict[str, str]:
    return {"model_digest": digest(f"long {number - 1}")}


def _event(kind: str, number: int, **body: object) -> Event:
    return Event(kind, {"round": number, "run_id": "long-run", **body}, None, "long-run", number)
