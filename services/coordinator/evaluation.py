"""The candidate: put on the record, sent to every signer to be judged on its own patients.

What comes back is what each hospital chose to release, noised and billed. The one rule: figures
whose charge is not on the log are not kept. A site that releases nothing has still been asked, and
the record says how it answered.
"""

import base64
from dataclasses import dataclass, field

import structlog

from audit.entry import Entry
from audit.errors import AuditError
from protocol import events
from protocol.budget import Charge, Mechanism, Partition, Purpose, account_of
from protocol.catalogue import layout_of
from protocol.errors import ProtocolError
from protocol.events import Kind
from protocol.round import Answer, Candidate, Evaluation, OrderKind, Verdict
from protocol.update import Packed, packed_digest
from protocol.words import Detail, Reason
from services.centre import Centre
from services.coordinator import store
from services.coordinator.charges import LoggedCharges, await_charges
from services.coordinator.grid import Grid, Incoming, Lost
from services.coordinator.intake import BadReplyError, member_verifier, short_line
from services.coordinator.orders import Run, await_warrant, orders_for

_log = structlog.get_logger(__name__)


def evaluate_candidate(
    centre: Centre, run: Run, grid: Grid, *, rounds_completed: int, model: Packed
) -> bool:
    """Ask the signers to judge the candidate; false when a quorum never saw it on the record.

    Whoever has answered before a stop is not asked again.

    Raises:
        GridError: the centre's own transport failed.
    """
    candidate = Candidate(
        plan_id=run.plan.id,
        run_id=run.run_id,
        rounds_completed=rounds_completed,
        model_digest=packed_digest(model),
        layout_digest=layout_of(run.plan.network).digest,
    )
    with centre.pool.connection() as connection:
        entry = store.load_run(connection, run.run_id).candidate
        if entry is None:
            entry = centre.outbox.append(connection, events.model_candidate(candidate))
            store.set_candidate(connection, run.run_id, entry)
        answered = {one.site for one in store.load_evaluations(connection, run.run_id)}
    deadline_s = float(run.plan.aggregation.deadline_s)
    warrant = await_warrant(centre.log, entry, timeout_s=deadline_s)
    if warrant is None:
        return False
    on_line = grid.sites()
    sites = tuple(site for site in run.signers if site in on_line and site not in answered)
    orders = orders_for(run, OrderKind.EVALUATE, sites=sites, warrant=warrant, model=model)
    releases = Releases(centre, candidate)
    for result in grid.exchange(orders, timeout_s=deadline_s):
        releases.arrive(result)
    releases.settle()
    return True


@dataclass(frozen=True, slots=True)
class _Release:
    """Signed figures, and the charge that must pay for them."""

    evaluation: Evaluation
    explanation: str
    receipt: bytes


@dataclass(slots=True)
class Releases:
    """The answers about one candidate; signed figures wait until their charges are seen."""

    centre: Centre
    candidate: Candidate
    _held: dict[str, _Release] = field(default_factory=dict)

    def arrive(self, result: Incoming | Lost) -> None:
        """Take one site's answer in; returns without waiting for anything."""
        if isinstance(result, Lost):
            self._record(result.site, result.reason, result.explanation[:400])
            return
        try:
            answer, release = self._read(result)
        except (AuditError, ProtocolError, BadReplyError, ValueError) as fault:
            self._record(result.site, Reason.BAD_UPDATE, short_line(fault))
            return
        if release is None:
            self._record(result.site, answer.reason, answer.explanation)
        else:
            self._held[result.site] = release

    def settle(self) -> None:
        """Wait for the charges of all figures together, and keep those that are paid for."""
        if not self._held:
            return
        centre, run_id = self.centre, self.candidate.run_id
        charges = LoggedCharges(centre.log, centre.consortium, run_id=run_id, round_number=0)
        await_charges(charges, self._settle_paid)
        for site in tuple(self._held):
            self._reject(site, "the charge that its receipt names is not on the log")

    def _settle_paid(self, charges: LoggedCharges) -> bool:
        """Decide about all figures whose charge has been seen; whether none wait now."""
        for site, release in tuple(self._held.items()):
            charge = charges.find(site, release.evaluation.charge_digest)
            if charge is None:
                continue
            if _pays(charge, release.evaluation):
                del self._held[site]
                self._record(site, Reason.NONE, release.explanation, receipt=release.receipt)
            else:
                self._reject(site, "the charge is for other work or other noise than the figures")
        return not self._held

    def _reject(self, site: str, explanation: str) -> None:
        del self._held[site]
        self._record(site, Reason.BAD_UPDATE, explanation)

    def _record(self, site: str, reason: Reason, explanation: str, *, receipt: bytes = b"") -> None:
        answer = (str(reason), explanation)
        with self.centre.pool.connection() as connection:
            store.insert_evaluation(
                connection, self.candidate.run_id, site=site, answer=answer, receipt=receipt
            )
        _log.info("evaluation answered", run=self.candidate.run_id, site=site, reason=answer[0])

    def _read(self, reply: Incoming) -> tuple[Answer, _Release | None]:
        """The answer, and the signed release where there is one."""
        answer = Answer.from_bytes(reply.header)
        if answer.verdict is Verdict.REFUSED or not answer.receipt:
            return answer, None
        receipt = base64.b64decode(answer.receipt, validate=True)
        evaluation = self._read_release(receipt, reply.site)
        return answer, _Release(evaluation, answer.explanation, receipt)

    def _read_release(self, receipt: bytes, site: str) -> Evaluation:
        entry = Entry.parse(receipt)
        entry.verify(member_verifier(self.centre, site))
        if entry.type != Kind.EVALUATION_RELEASED:
            raise BadReplyError(Detail.OTHER_RECEIPT)
        released = Evaluation.from_json(entry.body)
        candidate = self.candidate
        found = (released.site, released.plan_id, released.run_id, released.model_digest)
        if found != (site, candidate.plan_id, candidate.run_id, candidate.model_digest):
            raise BadReplyError(Detail.OTHER_RECEIPT)
        return released


def _pays(charge: Charge, released: Evaluation) -> bool:
    """Whether the charge is for one look at all held-out patients at the figures' noise."""
    mechanism = Mechanism(sample_rate="1", noise_multiplier=released.noise_multiplier, steps=1)
    found = (charge.plan_id, charge.purpose, charge.partition, charge.account, charge.mechanism)
    expected = (
        released.plan_id,
        Purpose.EVALUATION,
        Partition.HELD_OUT,
        account_of(released.site),
        mechanism,
    )
    return found == expected
