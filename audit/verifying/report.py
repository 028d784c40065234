"""The findings of a verification as lines for people.

The one rule: the last line says "verified" only where nothing is wrong, and names what was and was
not checked.
"""

from collections import Counter
from collections.abc import Iterator

from audit.verifying.findings import Account, Findings, RoundSummary, Summary

SHOWN = 20
"""Faults and remarks printed of each kind; a broken log can have one for every entry."""


def report_lines(findings: Findings) -> Iterator[str]:
    """The report, line by line, the verdict last."""
    if findings.summary is not None:
        yield from _summary_lines(findings.summary)
    yield from _shorten("remark", findings.remarks)
    yield from _shorten("FAULT", tuple(printable(str(fault)) for fault in findings.faults))
    if findings.is_verified:
        yield _verdict(findings.summary)
    else:
        yield f"NOT VERIFIED: {len(findings.faults)} fault{_s(len(findings.faults))}"


def _verdict(summary: Summary | None) -> str:
    if summary is None or not summary.is_of_events:
        what = "tree, log signature and cosignatures" if summary and summary.quorum else ""
        return f"verified: {what or 'tree and log signature'}; the entries' meaning was not checked"
    return "verified: tree, signatures, cosignatures, numbering, votes, charges and ε"


def _summary_lines(summary: Summary) -> Iterator[str]:
    yield _line("log", f"{printable(summary.origin)}: {summary.size} entries")
    yield _line("root", summary.root)
    if summary.events < summary.size:
        rest = summary.size - summary.events
        yield _line("events", f"{rest} of {summary.size} entries are not Wardround events")
    if summary.quorum is not None:
        who = ", ".join(map(printable, summary.organisations)) or "nobody"
        many = f"{len(summary.organisations)} organisation{_s(len(summary.organisations))}"
        what = f"{many} ({who})" if summary.is_of_events else who
        yield _line("witnesses", f"cosigned by {what}; {printable(summary.quorum)}")
    for producer, count in summary.producers.items():
        yield _line("producer", f"{printable(producer)}: {count} entries")
    yield from (_line("rounds", text) for text in _runs(summary.rounds))
    yield from (_line("ε", _account(account)) for account in summary.accounts)
    for run_id, digest in summary.candidates:
        yield _line("candidate", f"run {printable(run_id)}: {printable(digest)}")


def _runs(rounds: tuple[RoundSummary, ...]) -> Iterator[str]:
    for run_id in dict.fromkeys(state.run_id for state in rounds):
        mine = [state for state in rounds if state.run_id == run_id]
        outcomes = Counter(state.outcome for state in mine)
        text = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        takers = Counter(site for state in mine for site in state.participants)
        excluded = Counter(site for state in mine for site in state.excluded)
        sites = ", ".join(
            f"{printable(site)} {takers[site]}"
            + (f" (left out {excluded[site]})" if excluded[site] else "")
            for site in sorted({*takers, *excluded})
        )
        yield f"run {printable(run_id)}: {text}; took part: {sites or 'nobody'}"


def _account(account: Account) -> str:
    return printable(
        f"{account.site} {account.partition}: {account.epsilon_logged} logged, "
        f"{account.epsilon:.4f} recomputed at δ = {account.delta}, budget {account.budget}, "
        f"{account.charges} charge{_s(account.charges)}"
    )


def _shorten(title: str, texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts[:SHOWN]:
        yield _line(title, printable(text))
    if len(texts) > SHOWN:
        yield _line(title, f"… and {len(texts) - SHOWN} more")


def _line(title: str, text: str) -> str:
    return f"{title:<10} {text}"


def printable(text: str) -> str:
    """The text without anything that could steer a terminal: it may come from a hostile log."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
