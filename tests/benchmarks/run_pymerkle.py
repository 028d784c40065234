"""Appends entries to a pymerkle tree in SQLite and proves some; prints seconds as JSON.

Run by the benchmark with the Python of an environment of its own: pymerkle is under the GPL and no
part of this project.
"""

import json
import sys
import time

from pymerkle import SqliteTree, verify_inclusion

path, count, proofs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
entries = [number.to_bytes(4, "big") * 176 for number in range(count)]
tree = SqliteTree(path)


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


one_by_one_s = seconds(lambda: [tree.append_entry(entry) for entry in entries[: count // 10]])
together_s = seconds(lambda: tree.append_entries(entries[count // 10 :], chunksize=1000))
size = tree.get_size()
indices = range(1, size + 1, max(1, size // proofs))
proof_s = seconds(lambda: [tree.prove_inclusion(index, size) for index in indices])
root = tree.get_state(size)
verify_inclusion(tree.get_leaf(1), root, tree.prove_inclusion(1, size))
print(
    json.dumps(
        {
            "size": size,
            "one_by_one_per_s": count // 10 / one_by_one_s,
            "together_per_s": (count - count // 10) / together_s,
            "proof_ms": 1000 * proof_s / len(indices),
        }
    )
)
