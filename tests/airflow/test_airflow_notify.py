"""The example bloq_notify: Airflow's own notifiers mail what typed errors know, by callback and by deadline."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.callback import CallbackTrigger

from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.mailbox import Mailbox

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "bloq_notify.py"
ON_CALL, OWNER = "on-call@example.com", "owner-of-bloq@example.com"

RunDag = Callable[..., Any]


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """The mail server that Airflow writes to."""
    with Mailbox() as running:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(running.connection()))
        yield running


def example() -> Any:
    return runpy.run_path(str(EXAMPLE))["bloq_notify"]()


def states(dag_run: Any) -> dict[str, str]:
    return {task.task_id: task.state for task in dag_run.get_task_instances()}


def test_callbacks_mail_the_kind_of_the_error_and_whether_it_may_pass(
    connections: LocalStack, run_dag: RunDag, mailbox: Mailbox
) -> None:
    assert states(run_dag(example())) == {"list_nodes": "success", "read_node": "failed"}
    notifier, function = mailbox.mails
    assert (notifier.to, function.to) == (ON_CALL, ON_CALL)
    for mail in (notifier, function):
        assert mail.subject == "read_node: BloqNotFound"
        assert "node-that-is-gone" in mail.body
        assert "Somebody has to act." in mail.body


def test_a_callback_decides_by_the_class_of_the_error_whom_to_write_to(
    connections: LocalStack, run_dag: RunDag, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a-client-secret-that-is-refused-7c1e"
    refused = {
        **connections.connections()["bloq_default"],
        "login": connections.keys.client_id,
        "password": secret,
        "extra": {"environment": "local", "nodes_url": connections.bloq.nodes_url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(refused))
    assert states(run_dag(example())) == {"list_nodes": "failed", "read_node": "upstream_failed"}
    (mail,) = mailbox.mails
    # The class by its public name, also for what Airflow is not to try again.
    assert (mail.to, mail.subject) == (OWNER, "list_nodes: BloqClientKeysRejected")
    assert secret not in mail.body


def test_an_error_that_may_pass_is_told_so(
    connections: LocalStack, run_dag: RunDag, mailbox: Mailbox
) -> None:
    # Longer than the hook waits by itself.
    connections.bloq.add_fault(
        Fault(kind=FaultKind.RATE_LIMIT, service="nodes", path="/users/me/nodes", retry_after=3600)
    )
    try:
        assert states(run_dag(example()))["list_nodes"] == "failed"
    finally:
        connections.bloq.clear_faults()
    (mail,) = mailbox.mails
    assert (mail.to, mail.subject) == (ON_CALL, "list_nodes: BloqRateLimited")
    assert "It may pass by itself." in mail.body


async def test_the_deadline_mails_asynchronously_from_a_trigger(mailbox: Mailbox) -> None:
    (alert,) = example().deadline
    # What the triggerer runs when the deadline has passed, with as much of a context as it gives.
    context = {"dag_run": {"dag_id": "bloq_notify"}, "deadline": {"id": "1"}}
    trigger = CallbackTrigger(alert.callback.path, {**alert.callback.kwargs, "context": context})
    events = [event.payload["state"] async for event in trigger.run()]
    assert events[-1] == "success"
    (mail,) = mailbox.mails
    assert (mail.to, mail.subject) == (ON_CALL, "bloq_notify takes longer than an hour")
