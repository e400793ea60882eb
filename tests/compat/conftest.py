"""What the tests have in common that run on every supported Airflow; they need no more than the extra ``testing``.

They use the fixtures for authors of DAGs (``bloq_connection``), which are thereby tried on each Airflow as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.pytest_plugin import (
    _bloq_service,
    _bloq_vault_server,
    bloq_connection,
    bloq_local,
    bloq_vault,
)

__all__ = [
    "AIRFLOW",
    "Run",
    "_bloq_service",
    "_bloq_vault_server",
    "bloq_connection",
    "bloq_local",
    "bloq_vault",
]

#: Major and minor version of the Airflow that is installed.
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])

#: Seconds after which a process is taken to hang; a busy machine needs a tenth of it.
PATIENCE = 600

#: Runs Python with these arguments in an Airflow home of its own, and returns what it wrote on both outputs.
Run = Callable[..., str]


@pytest.fixture(scope="session")
def bloq_local_options() -> LocalBloqOptions:
    """Nodes that take a moment to start, and nothing behind them."""
    return LocalBloqOptions(upstreams={}, node_quota=None, provision_seconds=1.0)


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """Run Python in a process of its own; its Airflow has a home that nobody else uses."""

    def run(*arguments: str, **environment: str) -> str:
        home = {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/db",
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **home, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run
