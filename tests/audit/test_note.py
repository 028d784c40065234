"""Signed notes and keys: believed only when a known key has signed exactly this text."""

import stat
from pathlib import Path

import pytest
from audit_story import key_of
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import KeyFileError, NoteError
from audit.keys import create_key, create_witness_key, load_signer
from audit.note import Algorithm, Note, Signer, Verifier, add_signatures

SIGNER = key_of("demo/log")
OTHER = key_of("demo/other")
TEXT = "one line\n\nanother line\n"
NOTE = f"{TEXT}\n{SIGNER.sign(TEXT)}"
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=60)


@given(LINES)
def test_any_text_is_signed_and_opened(text: str) -> None:
    text += "\n"
    note = Note.parse(f"{text}\n{SIGNER.sign(text)}{OTHER.sign(text)}")
    assert note.text == text
    assert note.open([OTHER.verifier, SIGNER.verifier]) == (OTHER.verifier, SIGNER.verifier)


@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_any_changed_bit_is_noticed(bit: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((NoteError, UnicodeDecodeError)):
        Note.parse(changed.decode()).open([SIGNER.verifier])


def test_a_signature_of_an_unknown_key_is_ignored() -> None:
    note = Note.parse(add_signatures(NOTE, [OTHER.sign("something else\n")]))
    assert note.open([SIGNER.verifier]) == (SIGNER.verifier,)


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    note = Note.parse(add_signatures(NOTE, [OTHER.sign("something else\n")]))
    with pytest.raises(NoteError, match="demo/other"):
        note.open([SIGNER.verifier, OTHER.verifier])


def test_a_note_that_nobody_known_has_signed_is_refused() -> None:
    with pytest.raises(NoteError, match="no signature of a known key"):
        Note.parse(NOTE).open([OTHER.verifier])


def test_the_same_signature_is_added_only_once() -> None:
    line = OTHER.sign(TEXT)
    assert add_signatures(NOTE, [line, line]) == NOTE + line


@pytest.mark.parametrize(
    "content",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\nno dash\n",
        "text\n\n— name\n",
        "text\n\n— name !!!!\n",
        "text\n\n— name AAAA\n",
        NOTE[:-1],
        "a\tb\n\n" + SIGNER.sign("a\tb\n"),
        "x" * 100_001,
    ],
)
def test_what_is_no_note_is_refused(content: str) -> None:
    with pytest.raises(NoteError):
        Note.parse(content)


@given(st.data())
def test_a_damaged_verifier_key_is_refused_or_another_key(data) -> None:
    vkey = SIGNER.vkey
    place = data.draw(st.integers(0, len(vkey) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = vkey[:place] + letter + vkey[place + 1 :]
    if changed != vkey:
        with pytest.raises(NoteError):
            Verifier.from_vkey(changed)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b",
        "name+00000000+AAAA",
        "a b+00000000+" + SIGNER.vkey.split("+", 2)[2],
        "name+00000000+" + SIGNER.vkey.split("+", 2)[2],
    ],
)
def test_what_is_no_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        Verifier.from_vkey(vkey)


def test_a_witness_key_signs_no_note() -> None:
    with pytest.raises(NoteError, match="cosign"):
        key_of("demo/witness", Algorithm.COSIGNATURE).sign(TEXT)


def test_no_text_form_of_a_signer_shows_its_private_key() -> None:
    secret = SIGNER.private_text().rsplit("+", 1)[1]
    assert secret not in repr(SIGNER)
    with pytest.raises(NoteError) as error:
        Signer.from_text(SIGNER.private_text()[:-8])
    assert secret[:8] not in str(error.value)


def test_a_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "event.key"
    vkey = create_key(path, "demo/east")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signer(path).vkey == vkey
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key(path, "demo/east")
    assert load_signer(path).vkey == vkey


def test_a_witness_key_file_keeps_its_type(tmp_path: Path) -> None:
    vkey = create_witness_key(tmp_path / "witness.key", "demo/east/witness")
    assert Verifier.from_vkey(vkey).algorithm is Algorithm.COSIGNATURE
    assert load_signer(tmp_path / "witness.key").vkey == vkey


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PRIVATE+KEY+a+b", b"\xff\xfe"])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"bad\.key"):
        load_signer(path)


def test_a_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "event.key"
    create_key(path, "demo/east")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_signer(path)
