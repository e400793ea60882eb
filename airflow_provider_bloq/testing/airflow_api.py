"""What a test does with a running Airflow, by its REST API."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import requests

from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = ["AirflowApi"]

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
