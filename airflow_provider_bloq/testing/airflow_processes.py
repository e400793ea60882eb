"""The processes of an Airflow on loopback, in a home of their own: started, watched over and ended."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from abc import abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from airflow_provider_bloq.testing.airflow_api import AirflowApi
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.ports import LOOPBACK, free_ports
from airflow_provider_bloq.testing.process import ChildProcess

__all__ = ["AirflowPart", "AirflowProcesses"]

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
