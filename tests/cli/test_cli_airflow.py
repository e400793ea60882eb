"""``airflow bloq``: the commands in Airflow's own command line, with connections from its database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.stack import LocalStack
from tests.cli.conftest import Output

AIRFLOW = Path(sys.executable).with_name("airflow")
#: Far more than it takes on a slow machine.
TIMEOUT = 300


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A separate Airflow with an empty database."""
    foreign = ("AIRFLOW", "_AIRFLOW", "FORCE_COLOR", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


def airflow(environment: dict[str, str], *arguments: str) -> Output:
    done = subprocess.run(
        [AIRFLOW, *arguments], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return Output(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_commands_run_in_airflows_command_line(
    environment: dict[str, str], tmp_path: Path, stack: LocalStack
) -> None:
    connections = tmp_path / "connections.json"
    connections.write_text(json.dumps(stack.connections()))
    assert airflow(environment, "db", "migrate").code == 0
    imported = airflow(environment, "connections", "import", str(connections))
    assert imported.code == 0, imported.err
    output = airflow(environment, "bloq", "doctor", "--json")
    assert output.code == 0, output.out + output.err
    assert output.json["good"] is True
    assert output.outcomes["Access token"] == "passed"

    missing = airflow(environment, "bloq", "doctor", "--conn-id", "bloq_nowhere")
    assert missing.code == 1
    assert "bloq_nowhere" in missing.out
