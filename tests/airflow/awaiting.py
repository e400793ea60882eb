"""Waiting for what an Airflow does not announce."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from airflow_provider_bloq.testing.airflow import LocalAirflow

__all__ = ["PATIENCE", "is_known_to_have_paused", "until"]

#: Seconds that anything may take on a slow machine.
PATIENCE = 600.0


def until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until something holds.

    :param condition: What is waited for.
    :param otherwise: Tells what is missing, if it has not come in time.
    """
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        pause.wait(0.25)


def is_known_to_have_paused(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> bool:
    """Tell whether the scheduler knows that the process of a task has ended.

    A task that goes on sooner counts as killed and fails: https://github.com/apache/airflow/issues/71172.
    """
    end = f"TaskInstance Finished: dag_id={dag_id}, task_id={task_id}, run_id={run_id},"
    return end in airflow.log_tail(1_000_000)
