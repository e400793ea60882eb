"""A real Airflow on loopback: ``airflow standalone`` in a home of its own, driven by its REST API."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import requests

from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.process import ChildProcess

__all__ = ["LocalAirflow"]

#: The parts of Airflow that have to be well before a DAG can run.
_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
#: How often something is asked for that Airflow does not announce, in seconds.
_LOOK_EVERY = 0.25
_TERMINAL = frozenset({"success", "failed"})
#: A task log line or a setting must not carry what the surrounding shell says about another Airflow.
_FOREIGN_SETTINGS = re.compile(r"AIRFLOW|PYTHONDONTWRITEBYTECODE")


class LocalAirflow:
    """Runs Airflow with SQLite and the LocalExecutor; a context manager.

    :param dags: Folder of the DAGs.
    :param home: Where its files go; None for a temporary folder that is removed at the end.
    :param environment: Further environment variables, such as ``AIRFLOW__SECTION__KEY``.
    :param start_timeout: Seconds that it may take until all its parts are well.
    """

    def __init__(
        self,
        dags: Path,
        *,
        home: Path | None = None,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 180.0,
    ) -> None:
        self._temporary = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="bloq-airflow-"))
        self._dags = dags
        self._environment = dict(environment or {})
        self._start_timeout = start_timeout
        self._pause = threading.Event()
        self._process: ChildProcess | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    def start(self) -> Self:
        """Start Airflow and return when all of its parts are well.

        :raises TestingSetupError: It ended, or was not well in time.
        """
        web, worker_logs, trigger_logs = _free_ports(3)
        self.url = f"http://127.0.0.1:{web}"
        self.home.mkdir(parents=True, exist_ok=True)
        self._process = ChildProcess(
            [sys.executable, "-m", "airflow", "standalone"],
            env=self._settings(web, worker_logs, trigger_logs),
            cwd=self.home,
            name="Airflow",
        )
        self._process.start()
        try:
            self._until(self._is_well, self._start_timeout, "Airflow is not well")
            self._log_in()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all of its processes and remove its files, if they are in a temporary folder."""
        process, self._process = self._process, None
        if process is not None:
            # The parent does not take its children along, so the whole group is told.
            _signal_group(process.pid, signal.SIGTERM)
            process.stop(grace=30.0)
            _signal_group(process.pid, signal.SIGKILL)
        self._session.close()
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    @property
    def login(self) -> tuple[str, str]:
        """User name and password for its web page."""
        users = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())
        user, password = next(iter(users.items()))
        return str(user), str(password)

    @property
    def database(self) -> Path:
        """The file of its metadata database."""
        return self.home / "airflow.db"

    @property
    def logs(self) -> Path:
        """The folder of its task logs."""
        return self.home / "logs"

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that its processes printed."""
        return self._process.log_tail(lines) if self._process else ""

    def add_connection(self, conn_id: str, fields: Mapping[str, Any]) -> None:
        """Store a connection in its metadata database.

        :param conn_id: Its id.
        :param fields: ``conn_type``, ``host``, ``port``, ``schema``, ``login``, ``password``, and
            ``extra`` as a dict.
        """
        extra = json.dumps(fields.get("extra", {}))
        self.call("POST", "connections", json={**fields, "connection_id": conn_id, "extra": extra})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause a DAG and start a run of it.

        :return: The id of the run.
        """
        self._until(
            lambda: any(dag["dag_id"] == dag_id for dag in self.call("GET", "dags")["dags"]),
            self._start_timeout,
            f"the DAG {dag_id} was not found",
        )
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        run = self.call(
            "POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})}
        )
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        found = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return list(found["task_instances"])

    def wait(self, dag_id: str, run_id: str, timeout: float = 300.0) -> str:
        """Wait for the end of a run.

        :param timeout: Seconds to wait.
        :return: ``success`` or ``failed``.
        :raises TestingSetupError: It has not ended in time.
        """
        self._until(
            lambda: self.run_state(dag_id, run_id) in _TERMINAL, timeout, f"run {run_id} has not ended"
        )
        return self.run_state(dag_id, run_id)

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Call the REST API and return the JSON of its answer.

        :param path: Path below ``/api/v2/``.
        """
        response = self._session.request(method, f"{self.url}/api/v2/{path}", timeout=30, **request)
        response.raise_for_status()
        return response.json() if response.content else None

    def _settings(self, web: int, worker_logs: int, trigger_logs: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not _FOREIGN_SETTINGS.match(name)}
        # It starts its parts as "airflow", which must be the one of this very environment.
        own = str(Path(sys.executable).parent)
        return {
            **inherited,
            "PATH": os.pathsep.join([own, inherited.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{web}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(web),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            # The supervisor of an ended task sleeps this long before it notices (5 s by default).
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            **self._environment,
        }

    def _is_well(self) -> bool:
        if self._process is not None and not self._process.running:
            raise TestingSetupError(f"Airflow ended. Its output ends:\n{self.log_tail()}")
        try:
            response = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
            health = response.json()
        except (requests.RequestException, ValueError):
            return False
        return all((health.get(part) or {}).get("status") == "healthy" for part in _PARTS)

    def _log_in(self) -> None:
        user, password = self.login
        response = self._session.post(
            f"{self.url}/auth/token", json={"username": user, "password": password}, timeout=30
        )
        response.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def _until(self, condition: Any, timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TestingSetupError(f"{otherwise} after {timeout:.0f} s. Output ends:\n{self.log_tail()}")
            self._pause.wait(_LOOK_EVERY)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(server.getsockname()[1]) for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        # The last of the group has ended.
        return
