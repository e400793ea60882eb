"""The local Airflow of the test kit."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
import requests

from airflow_provider_bloq.testing.airflow import LocalAirflow


@pytest.mark.anvil
def test_a_rest_call_that_waits_for_the_database_does_not_hold_up_tasks(airflow: LocalAirflow) -> None:
    call = threading.Thread(
        target=airflow.call, args=("PATCH", "dags/bloq_quickstart"), kwargs={"json": {"is_paused": False}}
    )
    with closing(sqlite3.connect(airflow.database, isolation_level=None, timeout=60)) as database:
        database.execute("BEGIN IMMEDIATE")
        call.start()
        for _ in range(50):
            health = requests.get(f"{airflow._execution_url}/execution/health", timeout=30)
            assert health.status_code == 200
        assert call.is_alive(), "the call waits for the lock of the database"
        database.execute("ROLLBACK")
    call.join()
