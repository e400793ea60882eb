"""Measure the layout of the package, and print the figures as Markdown tables: ``python tools/house.py``.

The first tables are read from the source. The last is measured: three ways of a call run against the local Bloq
service, with client keys in a local Vault, and the files of the package that they pass are counted.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import json
import multiprocessing
import os
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

PACKAGE = "airflow_provider_bloq"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE
#: Folders of Airflow's public faces. They are sorted by kind, so that a file name may occur in each of them.
FACES = {"hooks", "operators", "sensors", "triggers", "decorators", "assets", "queues"}


def modules() -> dict[str, ast.Module]:
    """Return the modules of the package that hold code, by their path."""
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
    return {path: tree for path, tree in trees.items() if any(not is_text(each) for each in tree.body)}


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def is_testing(path: str) -> bool:
    return path.startswith("testing/")


def lines_of(path: str) -> int:
    return len((ROOT / path).read_text().splitlines())


def import_lines(tree: ast.Module) -> int:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in found)


def importers(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return for each module those that import it, at any level."""
    paths = {module_name(path): path for path in trees}
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name in paths and paths[name] != path:
                    found[paths[name]].add(path)
    return found


def module_name(path: str) -> str:
    name = f"{PACKAGE}/{path.removesuffix('.py')}".replace("/", ".")
    return name.removesuffix(".__init__")


def repeated_types(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the names of classes that more than one module defines. A class may have stand-ins in its own file."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].add(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def repeated_files(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return the file names that occur in several folders, without those of faces."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in trees:
        folder, _, name = path.rpartition("/")
        if folder not in FACES and name != "__init__.py" and not is_testing(path):
            found[name].append(folder)
    return {name: folders for name, folders in found.items() if len(folders) > 1}


def print_layout() -> None:
    everything = modules()
    trees = {path: tree for path, tree in everything.items() if not is_testing(path)}
    sizes = Counter({path: lines_of(path) for path in trees})
    total = sum(lines_of(str(path.relative_to(ROOT))) for path in ROOT.rglob("*.py"))
    testing = sum(lines_of(path) for path in everything if is_testing(path))
    imports = sum(import_lines(tree) for tree in trees.values())
    imported = importers(trees)
    single = [path for path in trees if len(imported[path]) == 1]
    types, files = repeated_types(everything), repeated_files(trees)
    print("| measured | |\n|---|---|")
    print(f"| modules with code outside `testing/` | {len(trees)} |")
    print(f"| lines outside `testing/` | {total - testing:,} |")
    print(f"| modules and lines of `testing/` | {len(everything) - len(trees)}, {testing:,} |")
    print(f"| share of imports | {imports / (total - testing):.1%} |")
    print(f"| modules with one importer | {len(single)}: {listed(single)} |")
    short = [path for path, size in sizes.items() if size < 60]
    print(f"| modules under 60 lines | {len(short)}: {listed(short)} |")
    print(f"| type names defined in several modules | {len(types)}: {listed(types)} |")
    print(f"| file names in several folders | {len(files)}: {listed(files)} |")
    print(f"| longest files | {', '.join(f'`{path}` {size}' for path, size in sizes.most_common(8))} |")
    for name, where in {**types, **files}.items():
        print(f"\n- `{name}`: {listed(sorted(where))}", end="")
    print("\n")


def listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


class Passed:
    """Collects the files of the package whose functions run, in all threads, while :attr:`counting` is set."""

    def __init__(self) -> None:
        self.counting = False
        self.files: set[str] = set()
        #: The files passed when the last request was sent.
        self.until_sent: set[str] = set()
        #: Gets each response that an event loop has received.
        self.on_answer: Callable[[Any], None] = lambda _: None
        self._root = f"{ROOT}{os.sep}"
        threading.setprofile(self._look)
        sys.setprofile(self._look)

    def _look(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._root):
            # The body of a module or class runs by being imported.
            if self.counting and code.co_flags & inspect.CO_OPTIMIZED:
                self.files.add(code.co_filename.removeprefix(self._root))
        elif event == "call" and code.co_qualname in ("HTTPConnection.endheaders", "ClientRequest.send"):
            self.until_sent = set(self.files)
        elif event == "return" and code.co_qualname == "ClientResponse.start":
            self.on_answer(frame.f_locals["self"])


def load_all() -> None:
    for path in modules():
        if not is_testing(path) and not path.startswith("queues/"):
            importlib.import_module(module_name(path))


def call_operator(pipe: Connection, node: dict[str, Any]) -> None:
    """Call a node with nothing cached: from the operator to its request."""
    load_all()
    from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator

    task = BloqJsonRpcOperator(task_id="call", node=node, method="eth_blockNumber")
    passed = Passed()
    passed.counting = True
    task.execute({"ti": SimpleNamespace(dag_id="a", run_id="b", task_id="call", map_index=-1)})
    pipe.send(sorted(passed.until_sent))


def wait_deferred(pipe: Connection, node: dict[str, Any]) -> None:
    """Meet a 401 in a deferred wait: from the answer to the same request sent again."""
    load_all()
    from airflow_provider_bloq.nodes.conditions import NodeState
    from airflow_provider_bloq.polling.serialization import condition_to_json
    from airflow_provider_bloq.triggers.wait import BloqWaitTrigger

    trigger = BloqWaitTrigger(
        bloq_conn_id="bloq_default",
        condition=condition_to_json(NodeState(node["id"], "stopped")),
        poll_interval=0.1,
        deadline=2.0**40,
    )
    passed = Passed()
    polled, sent_again = asyncio.Event(), asyncio.Event()

    def on_answer(response: Any) -> None:
        if response.status == 401:
            passed.counting = True
        elif "/auth/" not in response.url.path:
            (sent_again if passed.counting else polled).set()
            passed.counting = False

    async def run() -> None:
        passed.on_answer = on_answer
        waiting = asyncio.ensure_future(anext(trigger.run()))
        await polled.wait()
        pipe.send("revoke_tokens")
        pipe.recv()
        await sent_again.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
    pipe.send(sorted(passed.until_sent))


def survive_rotation(pipe: Connection, _: dict[str, Any]) -> None:
    """Make a call after the client keys were rotated under a running task."""
    load_all()
    from airflow_provider_bloq.hooks.bloq import BloqHook

    hook = BloqHook()
    hook.nodes.list()
    pipe.send("rotate_keys")
    pipe.recv()
    passed = Passed()
    passed.counting = True
    hook.nodes.list()
    pipe.send(sorted(passed.until_sent))


def call_first(pipe: Connection, _: dict[str, Any]) -> None:
    """Make a first authenticated call: the modules of the package that it loads."""
    from airflow_provider_bloq.hooks.bloq import BloqHook

    BloqHook().nodes.list()
    pipe.send(
        sorted(name for name in sys.modules if name.startswith(f"{PACKAGE}.") and ".testing" not in name)
    )


def create_node(pipe: Connection, _: dict[str, Any]) -> None:
    """Create the node that is called."""
    from airflow_provider_bloq.hooks.bloq import BloqHook

    hook = BloqHook()
    service_id = next(each.id for each in hook.nodes.services() if each.chain == "eth")
    node = hook.nodes.create(str(service_id))
    pipe.send(node.id)
    pipe.send({**node.public(), "tls_fingerprint": pipe.recv()})


Way = Callable[[Connection, dict[str, Any]], None]
#: What is measured, and the most that it should be.
WAYS: dict[Way, int] = {call_operator: 28, wait_deferred: 14, survive_rotation: 22, call_first: 90}


def start(way: Way, pipe: Connection, node: dict[str, Any]) -> None:
    # The log would stand between the rows of the table.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    way(pipe, node)


def ways() -> Iterator[tuple[Way, list[str]]]:
    """Run each of the ways in a fresh process."""
    from airflow_provider_bloq.testing.stack import LocalStack

    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="bloq-house-")
    spawning = multiprocessing.get_context("spawn")
    with LocalStack() as stack:
        for conn_id, connection in stack.connections().items():
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)

        def measured(way: Way, node: dict[str, Any]) -> Any:
            pipe, theirs = spawning.Pipe()
            process = spawning.Process(target=start, args=(way, theirs, node))
            process.start()
            theirs.close()
            while isinstance(asked := pipe.recv(), str):
                if asked in ("rotate_keys", "revoke_tokens"):
                    pipe.send(getattr(stack, asked)())
                else:
                    pipe.send(stack.bloq.node_fingerprint(asked))
            process.join()
            return asked

        node = measured(create_node, {})
        for way in WAYS:
            yield way, measured(way, node)


def main() -> None:
    if "--ways" not in sys.argv:
        print_layout()
    print("| way | wanted | files |\n|---|---|---|")
    details = []
    for way, found in ways():
        print(f"| {inspect.getdoc(way)} | ≤ {WAYS[way]} | {len(found)} |", flush=True)
        if way is not call_first:
            details.append(f"\n- {way.__name__}: {listed(found)}")
    print("".join(details))


if __name__ == "__main__":
    main()
