"""Parsing a DAG costs nothing: no connection is read, nothing is sent, no HTTP library is loaded."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_bloq import assets, decorators, operators, sensors, triggers

EXAMPLES = sorted((Path(__file__).parents[2] / "example_dags").glob("*.py"))
IMPORTED_BY_DAGS = [
    "airflow_provider_bloq.hooks.bloq",
    "airflow_provider_bloq.hooks.bloq_async",
    *(
        module.name
        for package in (assets, decorators, operators, sensors, triggers)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ),
]

# Each file in a fork of its own, since what one has loaded the next would find: Airflow is loaded once for all.
IN_FORKS = """
import os, sys
import airflow.sdk
before = set(sys.modules)
children = []
for item in sys.argv[1:]:
    if child := os.fork():
        children.append(child)
        continue
    sys.exit(look(item))
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""

PARSE = """
import runpy, socket
def refuse(*arguments, **options):
    raise AssertionError("parsing reaches out")
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
def look(path):
    airflow.sdk.BaseHook.get_connection = classmethod(refuse)
    runpy.run_path(path)
"""

IMPORT = """
import importlib
def look(name):
    importlib.import_module(name)
    heavy = {"requests", "aiohttp", "hvac", "jwt", "pyarrow"}
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before} & heavy
    return f"{name} loads {sorted(loaded)}" if loaded else 0
"""

#: Modules of the package that load when a DAG is parsed, besides the one that it imports.
LOADED_WITH_DAGS = {
    "arguments",
    "exceptions",
    "flow.backoff",
    "hooks._failures",
    "hooks.bloq",
    "hooks.retries",
    "operators._base",
    "operators._create",
    "operators._results",
    "operators.links",
}

OWN_MODULES = f"""
import importlib
allowed = {LOADED_WITH_DAGS!r}
def look(name):
    importlib.import_module(name)
    prefix = "airflow_provider_bloq."
    own = {{each.removeprefix(prefix) for each in set(sys.modules) - before if each.startswith(prefix)}}
    packages = {{each.rpartition(".")[0] for each in own}}
    extra = own - packages - allowed - {{name.removeprefix(prefix)}}
    return f"{{name}} loads {{sorted(extra)}}" if extra else 0
"""

WITHOUT_AIRFLOW = """
import sys
class NoAirflow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "airflow":
            raise ImportError("no Airflow here")
sys.meta_path.insert(0, NoAirflow())
import airflow_provider_bloq.auth.token_provider, airflow_provider_bloq.rpc.client
import airflow_provider_bloq.flow.sync_driver, airflow_provider_bloq.flow.async_driver
assert "airflow" not in sys.modules
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "AIRFLOW__CORE__UNIT_TEST_MODE": "False"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_examples_are_parsed_without_reaching_out() -> None:
    done = run(PARSE + IN_FORKS, *map(str, EXAMPLES))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "top_level_code",
    [
        "from airflow_provider_bloq.hooks.bloq import BloqHook; BloqHook().settings",
        "import requests; requests.get('http://127.0.0.1:9')",
    ],
)
def test_the_parse_test_notices_a_dag_that_reaches_out(top_level_code: str, tmp_path: Path) -> None:
    dag = tmp_path / "eager.py"
    dag.write_text(top_level_code)
    done = run(PARSE + IN_FORKS, str(dag))
    assert done.returncode != 0
    assert "parsing reaches out" in done.stderr


def test_what_dag_files_import_loads_no_http_library() -> None:
    done = run(IMPORT + IN_FORKS, *IMPORTED_BY_DAGS)
    assert done.returncode == 0, done.stderr


def test_operators_and_hooks_load_few_modules_of_the_package() -> None:
    """Guards the cost of parsing without measuring time: clients, models and flows load when a task runs."""
    names = [name for name in IMPORTED_BY_DAGS if name.split(".")[1] in ("hooks", "operators")]
    public = [name for name in names if not name.rpartition(".")[2].startswith("_")]
    done = run(OWN_MODULES + IN_FORKS, *public)
    assert done.returncode == 0, done.stderr


def test_the_import_test_notices_a_module_that_loads_one() -> None:
    done = run(
        IMPORT + IN_FORKS, "airflow_provider_bloq.flow.sync_driver", "airflow_provider_bloq.hooks.bloq"
    )
    assert done.returncode != 0
    assert "airflow_provider_bloq.flow.sync_driver loads ['requests']" in done.stderr


def test_the_lower_layers_work_where_airflow_cannot_be_imported() -> None:
    done = run(WITHOUT_AIRFLOW)
    assert done.returncode == 0, done.stderr
