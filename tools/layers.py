"""Check that a layer imports only what stands below it, and nothing heavy where DAGs are parsed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "airflow_provider_bloq"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

#: The layers, lowest first. Each may import itself, those before it, and the modules in SHARED.
LAYERS = (
    "auth",
    "clients",
    "chains",
    "conditions",
    "transport",
    "vault",
    "settings",
    "rotation",
    "hooks",
    "triggers",
    "operators",
    "sensors",
    "assets",
    "queues",
    "decorators",
    "cli",
)
#: Modules that hold no more than values or errors: any layer may import them.
SHARED = {PACKAGE, f"{PACKAGE}.exceptions"}
#: What a layer must never import, at any level of its modules.
FORBIDDEN = {
    "auth": {"airflow", "hvac", "requests", "aiohttp", "urllib3", "httpx"},
    "clients": {"airflow", "hvac", "requests", "aiohttp", "urllib3", "httpx"},
    "chains": {"airflow", "hvac", "requests", "aiohttp", "urllib3", "httpx"},
    "conditions": {"airflow", "hvac", "requests", "aiohttp", "urllib3", "httpx"},
    "transport": {"airflow", "hvac"},
    "rotation": {"airflow", "hvac", "requests", "aiohttp"},
    "settings": {"airflow", "hvac", "requests", "aiohttp", "jwt"},
}
#: Modules that DAG files import, or that are imported by them, load none of these at their top level.
PARSED_WITH_DAGS = (
    "assets/*.py",
    "decorators/*.py",
    "hooks/bloq.py",
    "hooks/bloq_async.py",
    "hooks/failures.py",
    "hooks/retry_policy.py",
    "operators/*.py",
    "sensors/*.py",
    "settings/*.py",
)
HEAVY = {"requests", "aiohttp", "hvac", "jwt", "pyarrow", "httpx", "urllib3", "jmespath", "airflow.triggers"}


def main() -> int:
    problems = [*foreign_imports(), *upward_imports(), *heavy_imports(), *testing_imports()]
    for problem in problems:
        print(problem)
    print("import layers: " + (f"{len(problems)} problem(s)" if problems else "as designed"))
    return 1 if problems else 0


def foreign_imports() -> Iterator[str]:
    for layer, forbidden in FORBIDDEN.items():
        for path in sorted((ROOT / layer).rglob("*.py")):
            for line, name in imports(path):
                if name.partition(".")[0] in forbidden:
                    yield f"{where(path, line)}: {layer}/ must not know {name}"


def upward_imports() -> Iterator[str]:
    for rank, layer in enumerate(LAYERS):
        below = LAYERS[: rank + 1]
        for path in sorted((ROOT / layer).rglob("*.py")):
            for line, name in imports(path):
                if not name.startswith(PACKAGE) or name in SHARED:
                    continue
                imported = name.split(".")[1]
                if imported not in below and imported != "exceptions":
                    yield f"{where(path, line)}: {layer}/ must not import {name}, which stands above it"


def heavy_imports() -> Iterator[str]:
    for pattern in PARSED_WITH_DAGS:
        for path in sorted(ROOT.glob(pattern)):
            for line, name in imports(path, top_level=True):
                if any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY):
                    yield f"{where(path, line)}: {name} is loaded whenever a DAG file is parsed"


def testing_imports() -> Iterator[str]:
    for path in sorted(ROOT.rglob("*.py")):
        if path.is_relative_to(ROOT / "testing"):
            continue
        for line, name in imports(path):
            if name.startswith(f"{PACKAGE}.testing"):
                yield f"{where(path, line)}: nothing outside of testing/ imports {name}"


def imports(path: Path, *, top_level: bool = False) -> Iterator[tuple[int, str]]:
    """Name what a module imports; what is only for type checking does not count."""
    tree = ast.parse(path.read_text())
    for node in walk(tree, top_level=top_level):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


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
