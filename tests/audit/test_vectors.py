"""Published known answers: tree, notes, cosignatures and ids are those everybody else computes."""

import base64
import json
import os
import warnings
from pathlib import Path

import pytest
from audit_story import START_US, key_of

import audit
from audit.checkpoint import (
    Checkpoint,
    WitnessKey,
    WitnessPolicy,
    add_cosignatures,
    cosign,
    open_checkpoint,
    sign_checkpoint,
)
from audit.entry import Place, sign_entry
from audit.errors import NoteError, ProofError
from audit.ids import uuid7
from audit.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from audit.note import Note, Signer, Verifier
from audit.proof import format_proof
from audit.tiles import encode_bundle
from protocol.events import Event

VECTORS = Path(__file__).parent.parent / "vectors"
TREE = json.loads((VECTORS / "rfc6962_roots.json").read_text())
NOTES = json.loads((VECTORS / "signed_notes.json").read_text())

_BESIDE = Path(__file__).parents[3] / "shared" / "vectors"
PUBLIC = Path(os.environ.get("WARDROUND_VECTORS", _BESIDE)) / "rfc6962_proofs"


@pytest.mark.parametrize("size", range(9))
def test_the_root_of_the_reference_leaves_is_the_published_one(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in TREE["leaves"][:size]]
    assert root_of(leaves).hex() == TREE["roots"][size]


def test_the_published_proofs_of_the_reference_tree_verify() -> None:
    roots = [bytes.fromhex(root) for root in TREE["roots"]]
    verify_consistency(
        6,
        8,
        proof=[bytes.fromhex(part) for part in TREE["consistency_6_8"]],
        old_root=roots[6],
        new_root=roots[8],
    )
    verify_inclusion(
        5,
        8,
        leaf=leaf_hash(bytes.fromhex(TREE["leaves"][5])),
        proof=[bytes.fromhex(part) for part in TREE["inclusion_5_8"]],
        root=roots[8],
    )


def test_all_public_proofs_are_judged_as_published() -> None:
    files = sorted(PUBLIC.rglob("*.json"))
    if not files:
        warnings.warn(
            f"THE 196 PUBLIC PROOFS WERE NOT CHECKED: {PUBLIC} holds none; "
            "set WARDROUND_VECTORS to the folder of rfc6962_proofs",
            stacklevel=1,
        )
        pytest.skip(f"no public proofs in {PUBLIC}; set WARDROUND_VECTORS")
    wrong = [str(file) for file in files if not _is_judged_as_published(file)]
    assert wrong == []
    assert len(files) == 196


def _is_judged_as_published(file: Path) -> bool:
    case = json.loads(file.read_text())
    try:
        _verify(case)
    except ProofError:
        return bool(case["wantErr"])
    return not case["wantErr"]


def _verify(case: dict) -> None:
    proof = [base64.b64decode(part) for part in case["proof"] or ()]
    value = {name: base64.b64decode(case.get(name) or "") for name in ("root", "root1", "root2")}
    if "leafIdx" in case:
        leaf = base64.b64decode(case["leafHash"] or "")
        size = case["treeSize"]
        verify_inclusion(case["leafIdx"], size, leaf=leaf, proof=proof, root=value["root"])
    else:
        old, new = case["size1"], case["size2"]
        verify_consistency(old, new, proof=proof, old_root=value["root1"], new_root=value["root2"])


def test_a_note_is_signed_as_go_signs_it() -> None:
    go = NOTES["go"]
    signer = Signer.from_text(go["private_key"])
    assert signer.vkey == go["vkey"]
    assert signer.private_text() == go["private_key"]
    assert signer.sign(go["text"]) == go["line"]
    note = Note.parse(f"{go['text']}\n{go['line']}")
    assert note.open([Verifier.from_vkey(go["vkey"])]) == (Verifier.from_vkey(go["vkey"]),)


def test_the_checkpoint_of_a_public_log_verifies_with_its_witnesses() -> None:
    known = NOTES["checkpoint"]
    log = Verifier.from_vkey(known["log_vkey"])
    assert open_checkpoint(known["note"], log).size == known["size"]
    witnesses = tuple(WitnessKey.from_vkey(key, key) for key in known["witness_vkeys"])
    found = WitnessPolicy(witnesses, quorum=4).check(known["note"])
    assert len({cosignature.organisation for cosignature in found}) == 4


def test_the_checkpoint_of_a_public_log_with_another_size_is_refused() -> None:
    known = NOTES["checkpoint"]
    changed = known["note"].replace("1432088532", "1432088533")
    with pytest.raises(NoteError):
        open_checkpoint(changed, Verifier.from_vkey(known["log_vkey"]))
    policy = WitnessPolicy((WitnessKey.from_vkey("any", known["witness_vkeys"][0]),), quorum=1)
    with pytest.raises(NoteError):
        policy.check(changed)


def test_the_uuid_of_rfc_9562_is_made() -> None:
    # RFC 9562, appendix A.6: unix_ts_ms 017F22E279B0, rand_a CC3, rand_b 18C4DC0C0C07398F.
    random_bytes = bytes.fromhex("0cc3" + "18c4dc0c0c07398f")
    assert uuid7(0x017F22E279B0 * 1000, random_bytes) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_the_readme_shows_the_bytes_that_the_code_makes() -> None:
    readme = (Path(audit.__file__).parent / "README.md").read_text(encoding="utf-8")
    first = _example("site.enrolled", 0, "")
    second = _example("plan.voted", 1, leaf_hash(first).hex())
    leaves = [leaf_hash(first), leaf_hash(second)]
    note = sign_checkpoint(Checkpoint("demo/log", 2, root_of(leaves)), key_of("demo/log"))
    line = cosign(note, key_of("demo/east/witness"), 1_760_000_060)
    proof = format_proof(1, leaves[:1], add_cosignatures(note, [line]))
    assert second.decode() in readme.replace("\n", "")
    assert leaves[1].hex() in readme
    assert encode_bundle([second])[:2].hex() in readme
    assert proof in readme


def _example(kind: str, seq: int, prev: str) -> bytes:
    return sign_entry(
        Event(kind, {"answer": "yes"}),
        key_of("demo/east"),
        Place("demo/log", uuid7(START_US, bytes([seq + 1]) * 10), START_US, seq, prev),
    )
