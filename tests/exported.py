"""Reading an ndjson export back, for tests: what anybody could write in a few lines."""

from audit.canonical import canonical_json, parse_canonical
from audit.entry import Entry
from audit.export_lines import Manifest, manifest_of


def read_ndjson(content: bytes) -> tuple[Manifest, list[tuple[int, Entry]]]:
    """The manifest and the entries of a whole export; its last line counts them."""
    lines = content.splitlines(keepends=True)
    values = [parse_canonical(line.removesuffix(b"\n")) for line in lines]
    assert values[-1] == {"end": "wardround/export/v1", "count": len(values) - 2}
    rows = [(value["index"], Entry.parse(canonical_json(value["entry"]))) for value in values[1:-1]]
    return manifest_of(lines[0], b""), rows
