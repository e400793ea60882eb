"""Chains as message queues: a scheme leads to a trigger, with all its arguments."""

from __future__ import annotations

import pytest
from airflow.providers.common.messaging.triggers import msg_queue
from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

from airflow_provider_bloq.queues.bloq import BloqAddressQueue, BloqBlockQueue, BloqLogsQueue
from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger, BloqBlockTrigger, BloqLogsTrigger

pytestmark = pytest.mark.logic

ADDRESS = "0x" + "ab" * 20


@pytest.fixture(autouse=True)
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queues that Airflow finds by the provider's metadata."""
    queues = [BloqBlockQueue(), BloqAddressQueue(), BloqLogsQueue()]
    monkeypatch.setattr(msg_queue, "MESSAGE_QUEUE_PROVIDERS", queues)


def test_a_scheme_leads_to_its_trigger() -> None:
    for queue, trigger in [
        (
            MessageQueueTrigger(scheme="bloq", node="node-1", every=5),
            BloqBlockTrigger(node="node-1", every=5),
        ),
        (
            MessageQueueTrigger(scheme="bloq+addresses", node="node-1", addresses=ADDRESS),
            BloqAddressTrigger(node="node-1", addresses=ADDRESS),
        ),
        (
            MessageQueueTrigger(scheme="bloq+logs", node="node-1", addresses=ADDRESS),
            BloqLogsTrigger(node="node-1", addresses=ADDRESS),
        ),
    ]:
        assert queue.serialize() == trigger.serialize()


def test_no_queue_takes_the_schemes_of_others() -> None:
    for scheme in ("kafka", "bloq+", "bloqs", ""):
        assert not any(queue.scheme_matches(scheme) for queue in msg_queue.MESSAGE_QUEUE_PROVIDERS)
    assert not any(
        queue.queue_matches("bloq://eth/mainnet/blocks") for queue in msg_queue.MESSAGE_QUEUE_PROVIDERS
    )
