"""What a test does with a running Airflow, by its REST API."""

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
    "AirflowApi",
    "AirflowPart",
    "AirflowProcesses",
    "LocalAirflow",
]


#: The parts of Airflow that have to be well before a DAG can run.
_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
#: How often something is asked for that Airflow does not announce, in seconds.
_LOOK_EVERY = 0.25
#: How long an answer may take on a busy machine, in seconds.
_ANSWER_TIMEOUT = 180.0
#: The same for a look at its health, which is soon repeated.
_HEALTH_TIMEOUT = 30.0
#: How often a call is repeated that the API has answered by an error of its own.
_REPEATS = 40
_TERMINAL = frozenset({"success", "failed"})
#: As many as Airflow gives at once unless it is set up otherwise.
_PAGE = 100


class AirflowApi(ABC):
    """Drives an Airflow at :attr:`url`.

    :param patience: Seconds that it may take until it is well, and until it knows a DAG of its folder.
    """

    #: Address of its web page and API.
    url: str

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._pause = threading.Event()
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    @property
    @abstractmethod
    def login(self) -> tuple[str, str]:
        """User name and password for its web page."""

    @abstractmethod
    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that its processes printed."""

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
            self._patience,
            f"the DAG {dag_id} was not found",
        )
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        # Of an id of ours there is one run only, so its making can be asked for again.
        run_id = f"test__{uuid4()}"
        order = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        self._until(lambda: self._has_begun(dag_id, order), self._patience, f"{dag_id} does not run")
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, however many they are."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call(
                "GET",
                f"dags/{dag_id}/dagRuns/{run_id}/taskInstances",
                params={"limit": _PAGE, "offset": len(found), "order_by": "id"},
            )
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

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

        An answer of 500 has it repeated for a while where that does no harm: SQLite has one writer at a time.

        :param path: Path below ``/api/v2/``.
        """
        response = self._answer(method, path, **request)
        for _ in range(_REPEATS if method != "POST" else 0):
            if response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
                break
            self._pause.wait(_LOOK_EVERY)
            response = self._answer(method, path, **request)
        response.raise_for_status()
        return response.json() if response.content else None

    def _answer(self, method: str, path: str, **request: Any) -> requests.Response:
        return self._session.request(method, f"{self.url}/api/v2/{path}", timeout=_ANSWER_TIMEOUT, **request)

    def _has_begun(self, dag_id: str, order: Mapping[str, Any]) -> bool:
        response = self._answer("POST", f"dags/{dag_id}/dagRuns", json=order)
        if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            return False
        # In conflict with the one that was made although the answer said otherwise.
        if response.status_code != HTTPStatus.CONFLICT:
            response.raise_for_status()
        return True

    def _is_well(self) -> bool:
        try:
            health = self._look("api/v2/monitor/health").json()
            if not all((health.get(part) or {}).get("status") == "healthy" for part in _PARTS):
                return False
            # What tasks report to is started by the first request, which takes seconds.
            return self._look("execution/health").ok
        except (requests.RequestException, ValueError):
            return False

    def _look(self, path: str) -> requests.Response:
        return self._session.get(f"{self.url}/{path}", timeout=_HEALTH_TIMEOUT)

    def _log_in(self) -> None:
        user, password = self.login
        response = self._session.post(
            f"{self.url}/auth/token",
            json={"username": user, "password": password},
            timeout=_ANSWER_TIMEOUT,
        )
        response.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def _until(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TestingSetupError(f"{otherwise} after {timeout:.0f} s. Output ends:\n{self.log_tail()}")
            self._pause.wait(_LOOK_EVERY)


#: A task log line or a setting must not carry what the surrounding shell says about another Airflow.
_FOREIGN_SETTINGS = re.compile(r"AIRFLOW|PYTHONDONTWRITEBYTECODE")
_STOP_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class AirflowPart:
    """One command of Airflow that runs as long as Airflow does.

    :param arguments: Arguments of ``airflow``.
    :param settings: Environment variables for this part alone.
    :param ready: What it prints once it is well; None where the health page tells.
    """

    arguments: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    ready: re.Pattern[str] | None = None


class AirflowProcesses(AirflowApi):
    """Runs the parts of an Airflow as processes of this very Python environment; a context manager.

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
        start_timeout: float = 600.0,
    ) -> None:
        super().__init__(start_timeout)
        self._temporary = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="bloq-airflow-"))
        #: What encrypts the passwords and extras of its connections.
        self.fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._dags = dags
        self._environment = dict(environment or {})
        self._processes: list[ChildProcess] = []
        self._opened = ExitStack()

    @abstractmethod
    def _prepare(self, opened: ExitStack) -> Mapping[str, str]:
        """Make ready what the parts need.

        :param opened: Whatever is entered here is left after the parts have ended.
        :return: Settings of all parts, as environment variables.
        """

    @abstractmethod
    def _parts(self) -> Sequence[AirflowPart]:
        """Return the parts to run."""

    def start(self) -> Self:
        """Start Airflow and return when all of its parts are well.

        :raises TestingSetupError: It ended, or was not well in time.
        """
        with ExitStack() as opened:
            opened.callback(self._remove_files)
            opened.callback(self._session.close)
            self.home.mkdir(parents=True, exist_ok=True)
            (web,) = free_ports(1)
            self.url = f"http://{LOOPBACK}:{web}"
            own = self._prepare(opened)
            settings = {**self._settings(web), **own, **self._environment}
            opened.callback(self._end)
            self._launch(settings)
            self._until(self._is_well, self._patience, "Airflow is not well")
            self._log_in()
            self._opened = opened.pop_all()
        return self

    def stop(self) -> None:
        """End all of its processes and remove its files, if they are in a temporary folder."""
        self._opened.close()

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
    def logs(self) -> Path:
        """The folder of its task logs."""
        return self.home / "logs"

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that each of its processes printed."""
        return "\n".join(process.log_tail(lines) for process in self._processes)

    def _launch(self, settings: Mapping[str, str]) -> None:
        """Start the parts.

        :param settings: Their whole environment.
        """
        parts = self._parts()
        for part in parts:
            process = self._command(part.arguments, {**settings, **part.settings})
            self._processes.append(process.start())
        for part, process in zip(parts, self._processes, strict=True):
            if part.ready is not None:
                process.wait_for(part.ready, self._patience)

    def _command(self, arguments: Sequence[str], settings: Mapping[str, str]) -> ChildProcess:
        return ChildProcess(
            [sys.executable, "-m", "airflow", *arguments],
            env=settings,
            cwd=self.home,
            name=f"airflow {arguments[0]}",
        )

    def _end(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            # The parent does not take its children along, so the whole group is told.
            _signal_group(process.pid, signal.SIGTERM)
        for process in processes:
            process.stop(grace=_STOP_TIMEOUT)
            _signal_group(process.pid, signal.SIGKILL)

    def _remove_files(self) -> None:
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def _is_well(self) -> bool:
        for process in self._processes:
            if not process.running:
                raise TestingSetupError(f"Airflow ended. Its output ends:\n{process.log_tail()}")
        return super()._is_well()

    def _settings(self, web: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not _FOREIGN_SETTINGS.match(name)}
        # It starts its parts as "airflow", which must be the one of this very environment.
        own = str(Path(sys.executable).parent)
        worker_logs, trigger_logs = free_ports(2)
        return {
            **inherited,
            "PATH": os.pathsep.join([own, inherited.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": self.fernet_key,
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__PORT": str(web),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            # A task whose report is answered too late fails: what it says again has happened already.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "180",
            # The supervisor of an ended task sleeps this long before it notices (5 s by default).
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        }


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        # The last of the group has ended.
        return


class LocalAirflow(AirflowProcesses):
    """Runs Airflow with SQLite and the LocalExecutor; a context manager.

    :param dags: Folder of the DAGs.
    :param home: Where its files go; None for a temporary folder that is removed at the end.
    :param environment: Further environment variables, such as ``AIRFLOW__SECTION__KEY``.
    :param start_timeout: Seconds that it may take until all its parts are well.
    """

    @property
    def database(self) -> Path:
        """The file of its metadata database."""
        return self.home / "airflow.db"

    def _prepare(self, opened: ExitStack) -> Mapping[str, str]:
        # A busy machine holds writers up for longer than the 5 s that Python has them wait.
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout=60"}

    def _parts(self) -> Sequence[AirflowPart]:
        return [AirflowPart(["standalone"])]
