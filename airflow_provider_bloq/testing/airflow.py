"""A real Airflow on this machine, as processes of this Python environment, driven by its REST API."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import requests

from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.process import LOOPBACK, ChildProcess, free_ports

__all__ = [
    "AirflowPart",
    "AirflowProcesses",
    "LocalAirflow",
]


#: The components that the health page must report as healthy before a DAG can run.
_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_POLL_INTERVAL = 0.25
#: Seconds that an answer may take on a busy machine.
_REQUEST_TIMEOUT = 180.0
_HEALTH_TIMEOUT = 30.0
_STOP_TIMEOUT = 30.0
#: How often a request is sent again that was answered with 500.
_RETRIES = 40
_TERMINAL_STATES = frozenset({"success", "failed"})
#: The default page size of Airflow's REST API.
_PAGE_SIZE = 100
#: Environment variables that belong to another Airflow. Without bytecode files each start takes seconds longer.
_FOREIGN_SETTINGS = re.compile(r"AIRFLOW|PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class AirflowPart:
    """A command of Airflow that runs as long as Airflow does.

    :param arguments: Arguments of ``airflow``.
    :param settings: Environment variables for this part alone.
    :param ready: What it prints when it is ready; None if the health page covers it.
    """

    arguments: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    ready: re.Pattern[str] | None = None


class AirflowProcesses(ABC):
    """Runs API servers, scheduler, DAG processor and triggerer as processes; a context manager.

    :param dags: Folder of the DAGs.
    :param home: Folder for its files; None for a temporary one that is removed at the end.
    :param environment: Further environment variables, such as ``AIRFLOW__SECTION__KEY``.
    :param start_timeout: Seconds that the start may take, and that a new DAG may take to be found.
    """

    def __init__(
        self,
        dags: Path,
        *,
        home: Path | None = None,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 600.0,
    ) -> None:
        self._temporary = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="bloq-airflow-"))
        #: The key that encrypts the passwords and extras of its connections.
        self.fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        #: Address of its web page and REST API.
        self.url = ""
        self._execution_url = ""
        self._dags = dags
        self._environment = dict(environment or {})
        self._start_timeout = start_timeout
        self._processes: list[ChildProcess] = []
        self._opened = ExitStack()
        self._pause = threading.Event()
        self._session = requests.Session()
        self._session.trust_env = False

    @abstractmethod
    def _prepare(self, opened: ExitStack) -> Mapping[str, str]:
        """Start what Airflow needs, and return the settings for it as environment variables.

        :param opened: Closed after Airflow has ended.
        """

    def start(self) -> Self:
        """Start Airflow and return when all of its parts are healthy.

        :raises TestingSetupError: A part ended, or was not healthy in time.
        """
        with ExitStack() as opened:
            opened.callback(self._remove_files)
            opened.callback(self._session.close)
            self.home.mkdir(parents=True, exist_ok=True)
            web, execution = free_ports(2)
            self.url = f"http://{LOOPBACK}:{web}"
            self._execution_url = f"http://{LOOPBACK}:{execution}"
            settings = {**self._settings(), **self._prepare(opened), **self._environment}
            opened.callback(self._end)
            with self._command(["db", "migrate"], settings) as migration:
                migration.finish(self._start_timeout)
            self._launch(self._parts(web, execution), settings)
            self._until(self._is_healthy, self._start_timeout, "Airflow is not healthy")
            self._log_in()
            self._opened = opened.pop_all()
        return self

    def stop(self) -> None:
        """End its processes and remove its files if they are in a temporary folder."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def login(self) -> tuple[str, str]:
        """User name and password for its web page."""
        users = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())
        user, password = next(iter(users.items()))
        return str(user), str(password)

    @property
    def logs(self) -> Path:
        """The folder of its task logs."""
        return self.home / "logs"

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that each of its processes printed."""
        return "\n".join(process.log_tail(lines) for process in self._processes)

    def add_connection(self, conn_id: str, fields: Mapping[str, Any]) -> None:
        """Store a connection in its metadata database.

        :param conn_id: Id of the connection.
        :param fields: ``conn_type``, ``host``, ``port``, ``schema``, ``login``, ``password``, and
            ``extra`` as a dict.
        """
        extra = json.dumps(fields.get("extra", {}))
        self.call("POST", "connections", json={**fields, "connection_id": conn_id, "extra": extra})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause a DAG, start a run of it and return the id of the run."""
        self._until(
            lambda: any(dag["dag_id"] == dag_id for dag in self.call("GET", "dags")["dags"]),
            self._start_timeout,
            f"the DAG {dag_id} was not found",
        )
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        # With an id of our own the request can be repeated: there is never a second run of that id.
        run_id = f"test__{uuid4()}"
        run = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        self._until(
            lambda: self._has_been_created(dag_id, run), self._start_timeout, f"{dag_id} does not run"
        )
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call(
                "GET",
                f"dags/{dag_id}/dagRuns/{run_id}/taskInstances",
                params={"limit": _PAGE_SIZE, "offset": len(found), "order_by": "id"},
            )
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def wait(self, dag_id: str, run_id: str, timeout: float = 300.0) -> str:
        """Wait until a run has ended, and return its state, ``success`` or ``failed``.

        :param timeout: Seconds to wait.
        :raises TestingSetupError: The run has not ended in time.
        """
        self._until(
            lambda: self.run_state(dag_id, run_id) in _TERMINAL_STATES, timeout, f"run {run_id} has not ended"
        )
        return self.run_state(dag_id, run_id)

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Call the REST API and return the JSON of its answer.

        A request other than POST is repeated for a while after an answer of 500: SQLite has one writer at a time.

        :param path: Path below ``/api/v2/``.
        """
        response = self._request(method, path, **request)
        for _ in range(_RETRIES if method != "POST" else 0):
            if response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
                break
            self._pause.wait(_POLL_INTERVAL)
            response = self._request(method, path, **request)
        response.raise_for_status()
        return response.json() if response.content else None

    def _request(self, method: str, path: str, **request: Any) -> requests.Response:
        return self._session.request(method, f"{self.url}/api/v2/{path}", timeout=_REQUEST_TIMEOUT, **request)

    def _has_been_created(self, dag_id: str, run: Mapping[str, Any]) -> bool:
        response = self._request("POST", f"dags/{dag_id}/dagRuns", json=run)
        if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            return False
        # A conflict means that an earlier request created the run although it was answered with 500.
        if response.status_code != HTTPStatus.CONFLICT:
            response.raise_for_status()
        return True

    def _parts(self, web: int, execution: int) -> Sequence[AirflowPart]:
        """Return the parts to run.

        Tasks report to an API server that only they use. The server's handlers for the web page and the REST
        API write an audit log on the event loop: on SQLite they would wait there for the lock of a task's
        transaction in the same process, whose commit needs the event loop, until SQLite's timeout.

        :param web: Port of the web page and REST API.
        :param execution: Port that tasks report to.
        """
        return [
            AirflowPart(["api-server", "--apps", "core", "--port", str(web)]),
            AirflowPart(["api-server", "--apps", "execution", "--port", str(execution)]),
            *(AirflowPart([name]) for name in ("scheduler", "dag-processor", "triggerer")),
        ]

    def _launch(self, parts: Sequence[AirflowPart], settings: Mapping[str, str]) -> None:
        for part in parts:
            process = self._command(part.arguments, {**settings, **part.settings})
            self._processes.append(process.start())
        for part, process in zip(parts, self._processes, strict=True):
            if part.ready is not None:
                process.wait_for(part.ready, self._start_timeout)

    def _command(self, arguments: Sequence[str], settings: Mapping[str, str]) -> ChildProcess:
        return ChildProcess(
            [sys.executable, "-m", "airflow", *arguments],
            env=settings,
            cwd=self.home,
            name=f"airflow {arguments[0]}",
        )

    def _is_healthy(self) -> bool:
        for process in self._processes:
            if not process.running:
                raise TestingSetupError(f"Airflow ended. Its output ends:\n{process.log_tail()}")
        try:
            health = self._health(f"{self.url}/api/v2/monitor/health").json()
            if not all((health.get(name) or {}).get("status") == "healthy" for name in _COMPONENTS):
                return False
            # The first request initialises the execution API, which takes seconds.
            return self._health(f"{self._execution_url}/execution/health").ok
        except (requests.RequestException, ValueError):
            return False

    def _health(self, url: str) -> requests.Response:
        return self._session.get(url, timeout=_HEALTH_TIMEOUT)

    def _log_in(self) -> None:
        user, password = self.login
        response = self._session.post(
            f"{self.url}/auth/token",
            json={"username": user, "password": password},
            timeout=_REQUEST_TIMEOUT,
        )
        response.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def _until(self, condition: Callable[[], bool], timeout: float, failure: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TestingSetupError(f"{failure} after {timeout:.0f} s. Output ends:\n{self.log_tail()}")
            self._pause.wait(_POLL_INTERVAL)

    def _end(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            # A part does not end its own children, so the whole group gets the signal.
            _signal_group(process.pid, signal.SIGTERM)
        for process in processes:
            process.stop(grace=_STOP_TIMEOUT)
            _signal_group(process.pid, signal.SIGKILL)

    def _remove_files(self) -> None:
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def _settings(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not _FOREIGN_SETTINGS.match(name)}
        # Airflow starts "airflow" by name, which must be the program of this environment.
        programs = str(Path(sys.executable).parent)
        worker_logs, trigger_logs = free_ports(2)
        return {
            **inherited,
            "PATH": os.pathsep.join([programs, inherited.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": self.fernet_key,
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self._execution_url}/execution/",
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            # Shared by all parts: the execution API must accept what the scheduler signs.
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            # A task repeats a report that is answered late, and fails because the first one was processed.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "180",
            # The supervisor of a task may sleep this long after the task has ended (5 s by default).
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        }


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        # All processes of the group have ended.
        return


class LocalAirflow(AirflowProcesses):
    """Runs Airflow with SQLite and the LocalExecutor; a context manager.

    :param dags: Folder of the DAGs.
    :param home: Folder for its files; None for a temporary one that is removed at the end.
    :param environment: Further environment variables, such as ``AIRFLOW__SECTION__KEY``.
    :param start_timeout: Seconds that the start may take, and that a new DAG may take to be found.
    """

    @property
    def database(self) -> Path:
        """The file of its metadata database."""
        return self.home / "airflow.db"

    def _prepare(self, opened: ExitStack) -> Mapping[str, str]:
        return {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            # On a busy machine a writer may wait longer for the lock than Python's default of 5 s.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout=60",
        }
