"""Parsing a DAG costs nothing: no connection is read, nothing is sent, no HTTP library is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "example_dags").glob("*.py"))

PARSE = """
import runpy, socket, sys
def refuse(*arguments, **options):
    raise AssertionError("parsing reaches out")
import airflow.sdk
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
airflow.sdk.BaseHook.get_connection = classmethod(refuse)
runpy.run_path(sys.argv[1])
"""

IMPORT = """
import importlib, sys
import airflow.sdk
before = set(sys.modules)
importlib.import_module(sys.argv[1])
heavy = {"requests", "aiohttp", "hvac", "jwt", "pyarrow"}
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
sys.exit(" ".join(sorted(loaded & heavy)) or 0)
"""


def run(code: str, argument: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
    return subprocess.run(
        [sys.executable, "-c", code, argument], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_parsed_without_reaching_out(path: Path) -> None:
    done = run(PARSE, str(path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["operators.nodes", "operators.jsonrpc", "hooks.bloq", "hooks.bloq_async"])
def test_what_dag_files_import_loads_no_http_library(module: str) -> None:
    done = run(IMPORT, f"airflow_provider_bloq.{module}")
    assert done.returncode == 0, done.stderr


def test_the_lower_layers_work_where_airflow_cannot_be_imported() -> None:
    code = """
import sys
class NoAirflow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "airflow":
            raise ImportError("no Airflow here")
sys.meta_path.insert(0, NoAirflow())
import airflow_provider_bloq.auth.ladder, airflow_provider_bloq.clients.jsonrpc
import airflow_provider_bloq.transport.blocking, airflow_provider_bloq.transport.awaiting
assert "airflow" not in sys.modules
"""
    done = run(code, "")
    assert done.returncode == 0, done.stderr
