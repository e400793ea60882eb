"""Tasks that wait in the triggerer: several for the same node, and one for a block."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_provider_bloq.sensors.chains import BloqBlockSensor
from airflow_provider_bloq.sensors.nodes import BloqNodeSensor


@dag(schedule=None, catchup=False, render_template_as_native_obj=True)
def waiting() -> None:
    """Wait for the end of the node, and for the block, that the run's conf names."""
    node = "{{ dag_run.conf['node'] }}"
    BloqNodeSensor.partial(
        task_id="stopped", node=node, state="stopped", deferrable=True, poke_interval=1
    ).expand(bloq_conn_id=["bloq_default"] * 5)
    BloqBlockSensor(
        task_id="block", node=node, height="{{ dag_run.conf['height'] }}", deferrable=True, poke_interval=1
    )


waiting()
