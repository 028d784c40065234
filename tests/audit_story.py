"""A small honest consortium that writes a log in memory: the material the verifier's tests spoil.

Three hospitals, a centre and a log; keys from fixed seeds, a clock that ticks; a whole run of two
rounds by default. A test changes one thing about it and looks at what the verifier says.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import Checkpoint, add_cosignatures, cosign, sign_checkpoint
from audit.entry import Place, sign_entry
from audit.evidence import write_evidence
from audit.ids import uuid7
from audit.merkle import leaf_hash, root_of
from audit.note import Algorithm, Signer
from audit.tiles import TileName, encode_bundle
from audit.trust import Trust
from audit.verifying.composition import Composition, SampledGaussian
from audit.verifying.findings import Fault, Findings
from audit.verifying.verify import Beliefs, verify_log
from protocol import events
from protocol.aggregation import Aggregation, AggregationRule
from protocol.ballot import Ballot, Choice, Rule
from protocol.budget import Charge, Mechanism, Partition, Purpose, account_of
from protocol.consortium import Consortium, Member, Role
from protocol.plan import (
    Cohort,
    Network,
    Optimiser,
    Plan,
    Preprocessing,
    Privacy,
)
from protocol.record import decimal_text, sha256_text
from protocol.round import Candidate, Closing, Exclusion, Opening, Reason, Sent

HOSPITALS = ("east", "north", "south")
PARTIES = ("audit", "centre", *HOSPITALS)
START_US = 1_760_000_000_000_000
RUN = "run-1"
_ROLES = {"audit": Role.AUDIT, "centre": Role.CENTRE}
SAMPLE_RATE, NOISE, STEPS = 0.2, 2.0, 10


def key_of(name: str, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
    seed = hashlib.sha256(name.encode()).digest()
    return Signer(name, Ed25519PrivateKey.from_private_bytes(seed), algorithm)


def digest(word: str) -> str:
    return sha256_text(word.encode())


class Story:
    """Parties, their numbering, and the entries they wrote."""

    def __init__(self) -> None:
        self.log = key_of("demo/log")
        self.signers = {name: key_of(f"demo/{name}") for name in PARTIES}
        self.witnesses = {
            name: key_of(f"demo/{name}/witness", Algorithm.COSIGNATURE) for name in HOSPITALS
        }
        self.entries: list[bytes] = []
        self.clock_us = START_US
        self._heads: dict[str, tuple[int, str]] = {}
        self._compositions: dict[str, Composition] = {}
        self.plan = _plan()
        self.consortium = self._consortium()

    @property
    def consortium_bytes(self) -> bytes:
        return self.consortium.to_bytes()

    def write(self, party: str, event: events.Event) -> bytes:
        """The party's next entry, numbered, signed and in the log."""
        self.clock_us += 1_000_000
        seq, prev = self._heads.get(party, (0, ""))
        entry = sign_entry(
            event,
            self.signers[party],
            Place(
                self.log.name,
                uuid7(self.clock_us, len(self.entries).to_bytes(10, "big")),
                self.clock_us,
                seq,
                prev,
            ),
        )
        self._heads[party] = (seq + 1, leaf_hash(entry).hex())
        self.entries.append(entry)
        return entry

    def note(self, cosigners: tuple[str, ...] = HOSPITALS) -> str:
        root = root_of(leaf_hash(entry) for entry in self.entries)
        note = sign_checkpoint(Checkpoint(self.log.name, len(self.entries), root), self.log)
        time_s = self.clock_us // 1_000_000 + 1
        lines = [cosign(note, self.witnesses[name], time_s) for name in cosigners]
        return add_cosignatures(note, lines)

    def save(self, folder: Path) -> Path:
        path = folder / "evidence.tar"
        write_evidence(
            path, self.note(), entries=self.entries, consortium_bytes=self.consortium_bytes
        )
        return path

    def found(self) -> None:
        self.write("centre", events.consortium_founded(self.consortium))
        self.write("centre", events.plan_proposed(self.plan))

    def vote(self, site: str, choice: Choice = Choice.APPROVE) -> None:
        self.write(site, events.plan_voted(self.ballot(site, choice)))

    def ballot(self, site: str, choice: Choice = Choice.APPROVE) -> Ballot:
        return Ballot(
            plan_id=self.plan.id,
            site=site,
            choice=choice,
            epsilon_cap="3",
            sample_rate=decimal_text(SAMPLE_RATE),
            noise_multiplier=decimal_text(NOISE),
        )

    def open(self, number: int, sites: tuple[str, ...] = HOSPITALS) -> None:
        self.write("centre", events.round_opened(self.opening(number, sites)))

    def opening(self, number: int, sites: tuple[str, ...] = HOSPITALS) -> Opening:
        return Opening(
            plan_id=self.plan.id,
            run_id=RUN,
            round=number,
            sites=sites,
            model_digest=digest(f"model {number - 1}"),
            layout_digest=digest("layout"),
            deadline_us=self.clock_us + 10**9,
        )

    def charge(self, site: str, number: int, *, change: Callable[[dict], None] | None = None):
        """Charge a round and return the charge's digest; `change` may spoil the body first."""
        spent = self._compositions.setdefault(site, Composition())
        spent.add(SampledGaussian(SAMPLE_RATE, NOISE, STEPS))
        alone = Composition()
        alone.add(SampledGaussian(SAMPLE_RATE, NOISE, STEPS))
        body = Charge(
            site=site,
            account=account_of(site),
            partition=Partition.TRAIN,
            purpose=Purpose.TRAINING,
            plan_id=self.plan.id,
            run_id=RUN,
            round=number,
            mechanism=Mechanism(
                sample_rate=decimal_text(SAMPLE_RATE),
                noise_multiplier=decimal_text(NOISE),
                steps=STEPS,
            ),
            epsilon=decimal_text(round(spent.epsilon(1e-5), 6)),
            epsilon_alone=decimal_text(round(alone.epsilon(1e-5), 6)),
            delta="0.00001",
            budget="8",
            clip_norm="0.5",
            accountant_version="test",
            secure_noise=True,
        ).to_json()
        if change:
            change(body)
        charge = Charge.from_json(body)
        self.write(site, events.privacy_charged(charge))
        return charge.digest

    def send(self, site: str, number: int, charge_digest: str, *, word: str = "update") -> None:
        self.write(
            site,
            events.update_sent(
                Sent(
                    plan_id=self.plan.id,
                    run_id=RUN,
                    round=number,
                    site=site,
                    update_digest=digest(f"{word} {site} {number}"),
                    layout_digest=digest("layout"),
                    size_bytes=5124,
                    charge_digest=charge_digest,
                )
            ),
        )

    def closing(self, number: int, participants: tuple[str, ...] = HOSPITALS) -> Closing:
        left_out = [site for site in HOSPITALS if site not in participants]
        return Closing(
            plan_id=self.plan.id,
            run_id=RUN,
            round=number,
            participants=participants,
            update_digests=tuple(digest(f"update {site} {number}") for site in participants),
            exclusions=tuple(Exclusion(site=site, reason=Reason.LATE) for site in left_out),
            rule=AggregationRule.FEDAVG,
            quorum=2,
            aggregate_digest=digest(f"model {number}"),
        )

    def close(self, number: int, participants: tuple[str, ...] = HOSPITALS) -> None:
        self.write("centre", events.round_closed(self.closing(number, participants)))

    def run_round(self, number: int, participants: tuple[str, ...] = HOSPITALS) -> None:
        self.open(number)
        for site in participants:
            self.send(site, number, self.charge(site, number))
        self.close(number, participants)

    def candidate(self, word: str = "model 2") -> None:
        self.write(
            "centre",
            events.model_candidate(
                Candidate(
                    plan_id=self.plan.id,
                    run_id=RUN,
                    rounds_completed=2,
                    model_digest=digest(word),
                    layout_digest=digest("layout"),
                )
            ),
        )

    def _consortium(self) -> Consortium:
        members = [
            Member(
                name=name,
                role=_ROLES.get(name, Role.HOSPITAL),
                organisation=f"Org {name}",
                event_vkey=signer.vkey,
                witness_vkey=self.witnesses[name].vkey if name in HOSPITALS else None,
            )
            for name, signer in sorted(self.signers.items())
        ]
        return Consortium(
            name="demo",
            log_vkey=self.log.vkey,
            members=tuple(members),
            rule=Rule(approvals=2, refusals_allowed=1),
            witness_quorum=2,
        )


def whole_story() -> Story:
    """A complete run: founding, votes, two rounds (the second without `south`), a candidate."""
    story = Story()
    story.found()
    for site in HOSPITALS:
        story.vote(site)
    story.run_round(1)
    story.run_round(2, ("east", "north"))
    story.candidate()
    return story


def filler(count: int) -> Iterator[bytes]:
    """Entries that no one of the consortium wrote."""
    return (f"foreign entry {number}".encode() for number in range(count))


def repack(path: Path, change: dict[str, bytes | None]) -> None:
    """Write the tar anew with some members replaced, added, or left out."""
    with tarfile.open(path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    with tarfile.open(path, "w") as tar:
        for name, content in (members | change).items():
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _plan() -> Plan:
    return Plan(
        title="Pneumonia on radiographs",
        purpose="test",
        proposed_by="centre",
        sites=HOSPITALS,
        network=Network(name="efficientnet-lite0-head", weights_digest=digest("weights")),
        cohort=Cohort(modality=("CR",), label="finding", positive="yes", minimum_patients=50),
        preprocessing=Preprocessing(size_px=128),
        optimiser=Optimiser(learning_rate="0.5", local_steps=STEPS),
        privacy=Privacy(
            epsilon="3",
            delta="0.00001",
            max_grad_norm="0.5",
            images_per_patient=4,
            expected_patients=64,
        ),
        aggregation=Aggregation(quorum=2, deadline_s=60),
        rounds=2,
        expires_us=START_US + 10**12,
    )


class MemoryLog:
    """A story's log, read from memory; its tiles are cut by another path than the verifier's."""

    def __init__(self, story: Story) -> None:
        self._entries = story.entries
        self.checkpoint_note = story.note()

    def read(self, name: TileName) -> bytes | None:
        first = name.index * 256
        if name.level is None:
            return encode_bundle(self._entries[first : first + name.width])
        span = 256**name.level
        leaves = [leaf_hash(entry) for entry in self._entries]
        starts = range(first * span, (first + name.width) * span, span)
        return b"".join(root_of(leaves[start : start + span]) for start in starts)


def findings_of(story: Story) -> Findings:
    trust = Trust.parse(story.consortium_bytes)
    return verify_log(MemoryLog(story), Beliefs.of(trust))


def assert_only(story: Story, fault: Fault, text: str) -> None:
    """The verifier finds this fault, and nothing of another kind."""
    findings = findings_of(story)
    assert text in "\n".join(map(str, findings.faults))
    assert {finding.fault for finding in findings.faults} == {fault}
    assert all(finding.index is not None for finding in findings.faults)


def approved(story: Story | None = None) -> Story:
    """A story with its plan proposed and approved by all."""
    story = story or Story()
    story.found()
    for site in HOSPITALS:
        story.vote(site)
    return story
