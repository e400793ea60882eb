"""Check that each module imports only what stands below it, and nothing heavy where DAG files are parsed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

PACKAGE = "airflow_provider_bloq"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

#: The layers, lowest first; a module belongs to the first pattern that it matches. Each may import itself and those
#: before it. A folder whose parts stand at different heights is named by file.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__", "exceptions", "get_provider_info", "arguments"),
    ("auth/credentials", "auth/origin"),
    (
        "flow/backoff",
        "flow/effects",
        "flow/events",
        "flow/lost_creates",
        "flow/service",
        "flow/retry",
        "flow/threads",
    ),
    ("auth/*",),
    ("flow/*",),
    ("polling/conditions",),
    ("nodes/*",),
    ("rpc/*",),
    ("chains/*",),
    ("connect/*",),
    ("connection/*",),
    ("vault/*",),
    ("accounts/*",),
    ("hooks/_*",),
    ("doctor/*",),
    ("hooks/*",),
    ("polling/*",),
    ("triggers/*",),
    ("operators/*",),
    ("sensors/*",),
    ("assets/*", "decorators/*", "queues/*"),
    ("cli/*",),
)
AIRFLOW = {"airflow"}
HTTP = {"aiohttp", "httpx", "requests", "urllib3"}
#: What a module must never import, at any level.
FORBIDDEN = {
    "auth/*": AIRFLOW | HTTP | {"hvac"},
    "flow/*": AIRFLOW | {"hvac"},
    "flow/effects": HTTP,
    "accounts/*": AIRFLOW | HTTP | {"hvac"},
    "nodes/*": AIRFLOW | HTTP | {"hvac"},
    "rpc/*": AIRFLOW | HTTP | {"hvac"},
    "chains/*": AIRFLOW | HTTP | {"hvac"},
    "connect/*": AIRFLOW | {"hvac", "requests", "urllib3"},
    "connection/*": HTTP | {"hvac", "jwt"},
}
#: Modules that DAG files import, or that are imported by them, load none of these at their top level.
PARSED_WITH_DAGS = (
    "assets/*",
    "connection/*",
    "decorators/*",
    "flow/backoff",
    "hooks/bloq",
    "hooks/bloq_async",
    "hooks/_failures",
    "hooks/retries",
    "operators/*",
    "sensors/*",
)
HEAVY = {*HTTP, "airflow.triggers", "deltalake", "hvac", "jmespath", "jwt", "pyarrow"}


def main() -> int:
    modules = {
        name: path
        for path in sorted(ROOT.rglob("*.py"))
        if not (name := name_of(path)).startswith("testing/") and name != "testing"
    }
    problems = [
        *foreign_imports(modules),
        *upward_imports(modules),
        *import_circles(modules),
        *heavy_imports(modules),
        *testing_imports(modules),
    ]
    for problem in problems:
        print(problem)
    print("import layers: " + (f"{len(problems)} problem(s)" if problems else "as designed"))
    return 1 if problems else 0


def foreign_imports(modules: dict[str, Path]) -> Iterator[str]:
    for pattern, forbidden in FORBIDDEN.items():
        for name, path in modules.items():
            if not fnmatch(name, pattern):
                continue
            for line, imported in imports(path):
                if imported.partition(".")[0] in forbidden:
                    yield f"{where(path, line)}: {pattern} must not know {imported}"


def upward_imports(modules: dict[str, Path]) -> Iterator[str]:
    for name, path in modules.items():
        own = rank(name)
        if own is None:
            yield f"{where(path, 1)}: {name} belongs to no layer"
            continue
        for line, imported in own_imports(path, modules):
            height = rank(imported)
            if height is not None and height > own:
                yield f"{where(path, line)}: {name} must not import {imported}, which stands above it"


def import_circles(modules: dict[str, Path]) -> Iterator[str]:
    """Name each circle of imports once, by the modules on it; imports inside functions count as well."""
    graph = {name: {imported for _, imported in own_imports(path, modules)} for name, path in modules.items()}
    finished: set[str] = set()

    def visit(name: str, way: list[str]) -> Iterator[str]:
        if name in way:
            yield "circle of imports: " + " > ".join([*way[way.index(name) :], name])
        elif name not in finished:
            for imported in sorted(graph.get(name, ())):
                yield from visit(imported, [*way, name])
            finished.add(name)

    for name in graph:
        yield from visit(name, [])


def heavy_imports(modules: dict[str, Path]) -> Iterator[str]:
    for name, path in modules.items():
        if not any(fnmatch(name, pattern) for pattern in PARSED_WITH_DAGS):
            continue
        for line, imported in imports(path, top_level=True):
            if any(imported == heavy or imported.startswith(f"{heavy}.") for heavy in HEAVY):
                yield f"{where(path, line)}: {imported} is loaded whenever a DAG file is parsed"


def testing_imports(modules: dict[str, Path]) -> Iterator[str]:
    for path in modules.values():
        for line, imported in imports(path):
            if imported.startswith(f"{PACKAGE}.testing"):
                yield f"{where(path, line)}: nothing outside of testing/ imports {imported}"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__")


def rank(name: str) -> int | None:
    whole = name if "/" in name or (ROOT / f"{name}.py").exists() else f"{name}/__init__"
    for exact in (True, False):
        for height, patterns in enumerate(LAYERS):
            for pattern in patterns:
                if (pattern == whole) if exact else ("*" in pattern and fnmatch(whole, pattern)):
                    return height
    return None


def own_imports(path: Path, modules: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Name the modules of the package that a module imports."""
    for line, imported in imports(path):
        if imported.startswith(f"{PACKAGE}."):
            name = imported.removeprefix(f"{PACKAGE}.").replace(".", "/")
            if name in modules and (ROOT / f"{name}.py").exists():
                yield line, name


def imports(path: Path, *, top_level: bool = False) -> Iterator[tuple[int, str]]:
    """Name what a module imports; what is only for type checking does not count."""
    for node in walk(ast.parse(path.read_text()), top_level=top_level):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def walk(node: ast.AST, *, top_level: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield child
        yield from walk(child, top_level=top_level)


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT.parent)}:{line}"


if __name__ == "__main__":
    sys.exit(main())
