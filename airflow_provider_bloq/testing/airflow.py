"""A real Airflow on loopback: ``airflow standalone`` in a home of its own, driven by its REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from airflow_provider_bloq.testing.airflow_processes import AirflowPart, AirflowProcesses

__all__ = ["LocalAirflow"]


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
