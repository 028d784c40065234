"""Whether any trace of a person is left in bytes; written apart from the product's own search.

It goes the other way about: the bytes are decoded in every way, and each word is looked for in what
comes out.
"""

import base64
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from leaks.planting import Traces

_READINGS = (
    "utf-8 latin-1 utf-16-le utf-16-be iso8859-2 iso8859-5 iso8859-6 iso8859-7 iso8859-8 tis-620 "
    "gb18030 iso2022_jp_2 iso2022_kr euc_kr shift_jis"
)
READINGS = _READINGS.split()


def plain(text: str) -> str:
    """Without case and accents."""
    marks = unicodedata.normalize("NFKD", text.casefold())
    return "".join(mark for mark in marks if not unicodedata.combining(mark)).replace("ł", "l")


def readings(content: bytes) -> Iterator[str]:
    """The bytes as text, in each way."""
    layers = [content, content[1:], unquote_to_bytes(content)]
    for run in re.findall(rb"[A-Za-z0-9+/]{6,}", content):
        layers += [base64.b64decode(run[s:][: len(run[s:]) // 4 * 4]) for s in range(4)]
    layers += [bytes.fromhex(run.decode()) for run in re.findall(rb"(?:[0-9a-f]{2}){4,}", content)]
    for number, layer in enumerate(layers):
        for codec in READINGS if number < 3 else READINGS[:3]:
            text = plain(layer.decode(codec, "ignore"))
            yield text
            yield text[::-1]


def traces_left(content: bytes, who: Traces) -> set[str]:
    """The kinds of trace that the bytes still show."""
    stand_ins = rb"2\.25\.[0-9]{30,39}|[0-9a-f]{64}|(?<=Pseudonym\^)[0-9a-f]{16}"
    raw_uids = {"uid" for uid in who.uids if uid.encode() in content}
    texts = "\n".join(readings(re.sub(stand_ins, b" ", content)))
    digits = "".join(filter(str.isdigit, who.patient_id))
    year, month, day = who.birth[:4], who.birth[4:6], who.birth[6:]
    names = [plain(word) for word in who.words]
    wanted = {
        "name": [name for name in names if len(name) > 3 or not name.isascii()],
        "number": [plain(who.patient_id), digits, plain(who.accession)],
        "date": [who.birth, who.study_date, f"{day}.{month}.{year}", f"{year}-{month}-{day}"],
        "address": [plain(max(re.findall(r"\w+", who.address), key=len))],
        "phone": [who.phone[-7:]],
    }
    found = {kind for kind, words in wanted.items() if any(word in texts for word in words)}
    return found | raw_uids
