"""What happens to a fleet's token from outside: keys are rotated, tokens revoked, calls forbidden."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.exceptions import BloqTokenRejected
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.client_keys import BloqTokenBrokerOperator
from airflow_provider_bloq.testing.local import Fault, FaultKind
from tests.support.real_fleet import RealFleet


def hook(role: str) -> BloqHook:
    """Make a hook as a process of its own would: with nothing that others have left."""
    shared_providers.forget()
    return BloqHook(f"bloq_{role}")


def test_a_broker_renews_after_a_rotation_and_after_the_token_was_revoked(fleet: RealFleet) -> None:
    def kept() -> tuple[bool, int]:
        shared_providers.forget()
        result = BloqTokenBrokerOperator(task_id="broker", bloq_conn_id="bloq_member").execute({})
        return result["renewed"], result["version"]

    assert kept() == (True, 1)
    old = fleet.keys
    fleet.renew_keys()
    fleet.bloq.delete_client_keys(old.client_id)
    assert kept() == (True, 2)
    assert hook("reader").nodes.list() == []
    fleet.bloq.revoke_access_tokens(fleet.keys.client_id)
    assert kept() == (True, 3)
    assert hook("reader").nodes.list() == []
    assert kept() == (False, 3)


def test_a_broker_does_its_work_while_nodes_is_away(fleet: RealFleet) -> None:
    hook("member").nodes.list()
    fleet.bloq.add_fault(Fault(kind=FaultKind.RESET, service="nodes", times=None))
    shared_providers.forget()
    result = BloqTokenBrokerOperator(task_id="broker", bloq_conn_id="bloq_member").execute({})
    assert (result["renewed"], result["version"]) == (False, 1)


@pytest.mark.parametrize("is_alive", [True, False], ids=["alive", "dead"])
def test_keys_rotated_in_the_connection_stop_no_member(
    fleet: RealFleet, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    member = fleet.connections()["bloq_member"]
    del member["extra"]["vault_path"], member["extra"]["vault_conn_id"]
    member["extra"]["shared_vault_conn_id"] = "vault_member"

    def rotate() -> None:
        fleet.renew_keys()
        keys = {"login": fleet.keys.client_id, "password": fleet.keys.client_secret}
        monkeypatch.setenv("AIRFLOW_CONN_BLOQ_MEMBER", json.dumps({**member, **keys}))

    rotate()
    early = hook("member")
    assert early.nodes.list() == []
    rotate()
    if not is_alive:
        fleet.expire()
    assert hook("member").nodes.list() == []
    broker = BloqTokenBrokerOperator(task_id="broker", bloq_conn_id="bloq_member").execute({})
    stored = fleet.stored()
    assert stored is not None
    assert (stored.client_id, stored.key_version) == (fleet.keys.client_id, None)
    assert not broker["renewed"]
    # A task that began before the rotation.
    fleet.bloq.revoke_access_tokens(fleet.keys.client_id)
    assert early.nodes.list() == []
    assert hook("reader").nodes.list() == []


def test_a_reader_s_forbidden_call_leaves_its_other_calls_alone(fleet: RealFleet) -> None:
    hook("member").nodes.list()
    fleet.bloq.add_fault(
        Fault(kind=FaultKind.HTML, service="nodes", path="/users/me/clusters*", status=403, times=None)
    )
    reader = hook("reader")
    reader.nodes.list()
    for _ in range(2):
        with pytest.raises(BloqTokenRejected):
            reader.clusters.list()
        assert reader.nodes.list() == []
    assert fleet.bloq.counters().mints == 1
