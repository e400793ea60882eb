"""A real Airflow with CeleryExecutor, PostgreSQL and Redis, all on loopback."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from airflow_provider_bloq.testing.airflow import AirflowPart, AirflowProcesses
from airflow_provider_bloq.testing.process import free_ports
from tests.support.postgres import LocalPostgres
from tests.support.redis_server import LocalRedis

__all__ = [
    "LocalCeleryAirflow",
]


_WORKER_READY = re.compile(r"celery@\S+ ready")
#: Enough that no worker ever waits for the scheduler.
_PARALLELISM = 64


class LocalCeleryAirflow(AirflowProcesses):
    """Runs API server, scheduler, DAG processor, triggerer and Celery workers; a context manager.

    PostgreSQL and Redis are taken from PATH or, on Debian, downloaded.

    :param dags: Folder of the DAGs.
    :param home: Folder for its files; None for a temporary one that is removed at the end.
    :param environment: Further environment variables, such as ``AIRFLOW__SECTION__KEY``.
    :param start_timeout: Seconds that the start may take, and that a new DAG may take to be found.
    :param workers: How many Celery workers run.
    :param concurrency: How many tasks each of them runs at once; each takes some 150 MB of memory.
    """

    def __init__(
        self,
        dags: Path,
        *,
        home: Path | None = None,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 600.0,
        workers: int = 2,
        concurrency: int = 2,
    ) -> None:
        super().__init__(dags, home=home, environment=environment, start_timeout=start_timeout)
        self._workers = workers
        self._concurrency = concurrency

    def _prepare(self, opened: ExitStack) -> Mapping[str, str]:
        postgres = opened.enter_context(LocalPostgres())
        redis = opened.enter_context(LocalRedis())
        return {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(_PARALLELISM),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url("postgresql+psycopg2"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": postgres.url("postgresql+asyncpg"),
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": postgres.url("db+postgresql+psycopg2"),
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(self._concurrency),
        }

    def _parts(self, web: int, execution: int) -> Sequence[AirflowPart]:
        workers = [
            AirflowPart(
                [
                    "celery",
                    "worker",
                    f"--celery-hostname=worker{number}",
                    f"--pid={self.home}/worker{number}.pid",
                ],
                {"AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port)},
                _WORKER_READY,
            )
            for number, port in enumerate(free_ports(self._workers), 1)
        ]
        return [*super()._parts(web, execution), *workers]
