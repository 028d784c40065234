"""House rules that a linter does not know: budgets, words, edges, a chapter per directory."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("audit", "deploy", "hospital_node", "protocol", "services")

FUNCTION_LIMIT, FUNCTION_P90 = 50, 25
FILE_LIMIT, FILE_P90 = 450, 300

BANNED = ("Manager", "Handler", "Helper", "Util", "Base", "Common", "Data", "Info")

FLOWER_EDGES = {
    "hospital_node/calls.py",
    "hospital_node/client_app.py",
    "hospital_node/executor.py",
    "hospital_node/fleet.py",
    "hospital_node/supernode.py",
    "services/coordinator/flower_grid.py",
    "services/coordinator/flower_run.py",
    "services/coordinator/nodes.py",
    "services/coordinator/wire.py",
    "services/superlink.py",
}
"""The modules that know Flower; an upgrade is felt nowhere else."""

WEB_EDGES = re.compile(
    r"(app|problems|identity|public_http|service|__main__)\.py$|audit/desk/(access|questions|routes/\w+)\.py$"
    r"|hospital_node/review/(door|routes/\w+)\.py$"
)
"""FastAPI and uvicorn: where HTTP is spoken."""

HASHED = ("protocol",)
"""Packages whose records are hashed; a float has no canonical form."""


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines after the docstring, without the signature."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _p90(values: list[int]) -> int:
    return sorted(values)[int(len(values) * 0.9)]


def test_functions_stay_within_their_budget() -> None:
    lengths = {
        f"{_name(path)}:{function.name}": _body_lines(function)
        for path in _sources()
        for function in _functions(_tree(path))
    }
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LIMIT} == {}
    assert _p90(list(lengths.values())) <= FUNCTION_P90


def test_files_stay_within_their_budget() -> None:
    lengths = {_name(path): path.read_text().count("\n") for path in _sources()}
    assert {name: n for name, n in lengths.items() if n > FILE_LIMIT} == {}
    assert _p90(list(lengths.values())) <= FILE_P90


def test_every_module_says_what_it_is() -> None:
    silent = [_name(path) for path in _sources() if not ast.get_docstring(_tree(path))]
    assert silent == []


def test_no_name_hides_behind_an_empty_word() -> None:
    bad = re.compile(rf"(?:{'|'.join(BANNED)})s?$|^(?:{'|'.join(BANNED)})(?=[A-Z])")
    found = [
        f"{_name(path)}:{node.name}"
        for path in _sources()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and bad.search(node.name)
    ]
    assert found == []
    modules = {word.lower() for word in BANNED} | {f"{word.lower()}s" for word in BANNED}
    assert [_name(path) for path in _sources() if path.stem in modules] == []


@pytest.mark.parametrize("package", HASHED)
def test_no_hashed_record_has_a_field_that_is_a_float(package: str) -> None:
    found = [
        f"{_name(path)}:{record.name}.{ast.unparse(field.target)}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for record in ast.walk(_tree(path))
        if isinstance(record, ast.ClassDef)
        and any(ast.unparse(base) == "Record" for base in record.bases)
        for field in record.body
        if isinstance(field, ast.AnnAssign) and "float" in ast.unparse(field.annotation)
    ]
    assert found == []


def test_flower_is_known_at_the_edges_alone() -> None:
    knowing = {
        _name(path)
        for path in _sources()
        if any(module.split(".")[0] == "flwr" for module in _imports(_tree(path)))
    }
    assert knowing - FLOWER_EDGES == set()


def test_http_is_served_at_the_edges_alone() -> None:
    knowing = [
        _name(path)
        for path in _sources()
        if any(
            m.split(".")[0] in {"fastapi", "starlette", "uvicorn"} for m in _imports(_tree(path))
        )
    ]
    assert [name for name in knowing if not WEB_EDGES.search(name)] == []


def test_the_protocol_does_nothing_but_state_values() -> None:
    forbidden = {"os", "socket", "subprocess", "time", "random", "secrets", "threading", "psycopg"}
    for path in sorted((ROOT / "protocol").rglob("*.py")):
        assert forbidden.isdisjoint(m.split(".")[0] for m in _imports(_tree(path))), path


def test_no_comment_promises_work_for_later() -> None:
    promise = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")
    found = [_name(path) for path in _sources() if promise.search(path.read_text())]
    assert found == []


def test_broad_excepts_are_marked_as_edges() -> None:
    """`except Exception` belongs to an outermost edge, and says so where it stands."""
    bare = [
        f"{_name(path)}:{node.lineno}"
        for path in _sources()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def test_every_directory_of_source_has_its_chapter() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    folders = {Path(name).parent for name in tracked if name.split("/")[0] in PACKAGES}
    assert [
        str(folder) for folder in sorted(folders) if not (ROOT / folder / "README.md").exists()
    ] == []


def test_no_test_directory_shadows_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
