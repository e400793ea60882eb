"""Members and readers as hooks of a real Vault and a real service, with each role's policy in force."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.auth.shared_token_store import Lease
from airflow_provider_bloq.connection.reading import mask, read_settings
from airflow_provider_bloq.doctor.checks import check_connection
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqSharedTokenStale,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.hooks._account import Account
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.operators.client_keys import BloqTokenBrokerOperator
from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.testing.openbao import SeenRequest
from tests.support.drivers import blocking_driver
from tests.support.real_fleet import RealFleet

LOGIN = "auth/approle/login"


def hook(role: str) -> BloqHook:
    """Make a hook as a process of its own would: with nothing that others have left."""
    shared_providers.forget()
    return BloqHook(f"bloq_{role}")


def impatient(role: str) -> SharedTokenProvider:
    """Make the provider of a role that looks once and waits for nobody."""
    account = Account.of(read_settings(f"bloq_{role}"), mask, RetryPolicy())
    return account.shared_provider(account.client_keys_provider() if role == "member" else None, max_wait=0.0)


def test_a_member_shares_and_a_reader_works_without_any_keys(fleet: RealFleet) -> None:
    assert hook("member").nodes.list() == []
    stored = fleet.stored()
    assert stored is not None
    assert (stored.client_id, stored.accounts_url) == (fleet.keys.client_id, fleet.bloq.accounts_url)
    assert stored.key_version == 1
    before = len(fleet.vault.requests_seen())
    reader = hook("reader")
    for _ in range(3):
        assert reader.nodes.list() == []
    seen = fleet.vault.requests_seen()[before:]
    # The one login that its way of logging in needs, and one read.
    assert seen == [SeenRequest("update", LOGIN), SeenRequest("read", f"secret/data/{fleet.path}")]
    assert fleet.bloq.counters().mints == 1


def test_what_a_member_s_first_renewal_asks_of_vault(fleet: RealFleet) -> None:
    before = len(fleet.vault.requests_seen())
    hook("member").nodes.list()
    seen = [(one.operation, one.path) for one in fleet.vault.requests_seen()[before:]]
    data, lease = f"secret/data/{fleet.path}", f"secret/data/{fleet.path}/lease"
    assert [path for _, path in seen].count(LOGIN) == 1
    reads = [path for operation, path in seen if operation == "read" and path.startswith("secret/data/")]
    assert reads == [data, lease, data, f"secret/data/{fleet.keys_path}"]
    writes = [path for operation, path in seen if operation != "read" and path.startswith("secret/data/")]
    assert writes == [lease, data, lease]


async def test_the_async_hook_shares_as_well(fleet: RealFleet) -> None:
    await asyncio.to_thread(lambda: hook("member").nodes.list())
    await asyncio.to_thread(shared_providers.forget)
    async with BloqAsyncHook("bloq_reader") as reader, BloqAsyncHook("bloq_member") as member:
        assert await reader.nodes.list() == await member.nodes.list() == []
        assert await reader.get_access_token() == await member.get_access_token()
    assert fleet.bloq.counters().mints == 1


def test_reader_and_member_do_not_share_a_provider(fleet: RealFleet) -> None:
    hook("member").nodes.list()
    BloqHook("bloq_reader").nodes.list()
    assert len(shared_providers) == 2


def test_a_reader_of_a_path_that_nobody_writes_names_what_is_missing(fleet: RealFleet) -> None:
    with pytest.raises(BloqSharedTokenStale, match="BloqTokenBrokerOperator"):
        blocking_driver().run(impatient("reader").token())


def test_a_reader_that_waits_gets_the_token_that_a_member_writes(fleet: RealFleet) -> None:
    reader = hook("reader")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.nodes.list)
        while ("read", f"secret/data/{fleet.path}") not in fleet.vault.requests_seen():
            threading.Event().wait(0.01)
        BloqHook("bloq_member").nodes.list()
        assert waiting.result(60) == []


def test_a_revoked_token_is_renewed_by_a_member_and_picked_up_by_the_rest(fleet: RealFleet) -> None:
    member = hook("member")
    member.nodes.list()
    reader = BloqHook("bloq_reader")
    reader.nodes.list()
    fleet.bloq.revoke_access_tokens(fleet.keys.client_id)
    assert member.nodes.list() == []
    assert reader.nodes.list() == []
    counts = fleet.bloq.counters()
    assert counts.mints + counts.refreshes == 2


def test_rotated_keys_go_through_without_a_failed_call(fleet: RealFleet) -> None:
    member = hook("member")
    member.nodes.list()
    old = fleet.keys
    reader = BloqHook("bloq_reader")
    reader.nodes.list()
    fleet.renew_keys()
    fleet.bloq.delete_client_keys(old.client_id)
    fleet.bloq.revoke_access_tokens(old.client_id)
    assert member.nodes.list() == []
    assert reader.nodes.list() == []
    stored = fleet.stored()
    assert stored is not None
    assert (stored.client_id, stored.key_version) == (fleet.keys.client_id, 2)


def test_with_vault_sealed_who_holds_a_token_goes_on_and_who_needs_one_is_told(fleet: RealFleet) -> None:
    member = hook("member")
    member.nodes.list()
    reader = BloqHook("bloq_reader")
    reader.nodes.list()
    fleet.vault.seal()
    try:
        assert reader.nodes.list() == member.nodes.list() == []
        with pytest.raises(BloqVaultUnavailable, match="sealed.*see that Vault is up"):
            blocking_driver().run(impatient("reader").token())
    finally:
        fleet.vault.unseal()
    assert hook("reader").nodes.list() == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.RATE_LIMIT, service="accounts"),
        Fault(kind=FaultKind.STATUS, status=503, service="accounts"),
    ],
    ids=["429", "503"],
)
def test_a_busy_accounts_is_waited_for(fleet: RealFleet, fault: Fault) -> None:
    fleet.bloq.add_fault(fault)
    assert hook("member").nodes.list() == []
    assert fleet.bloq.counters().mints == 1


def test_the_member_s_role_reads_and_writes_nothing_of_the_account(fleet: RealFleet) -> None:
    fleet.vault.put(f"{fleet.path}-account", {"user": "u", "password": "p"})
    account = Account.of(read_settings("bloq_member"), mask, RetryPolicy())
    assert account.store is not None
    blocking_driver().run(account.store.token.read())
    slot: Any = account.store.token
    slot._path = f"{fleet.path}-account"
    with pytest.raises(BloqConfigurationError, match="does not permit"):
        blocking_driver().run(slot.read())


def test_the_broker_renews_and_then_finds_it_fresh(fleet: RealFleet) -> None:
    shared_providers.forget()
    broker = BloqTokenBrokerOperator(task_id="broker", bloq_conn_id="bloq_member", valid_for=1800)
    first = broker.execute({})
    shared_providers.forget()
    second = BloqTokenBrokerOperator(task_id="broker", bloq_conn_id="bloq_member").execute({})
    assert (first["version"], first["renewed"]) == (1, True)
    assert (second["version"], second["renewed"]) == (1, False)
    assert all(0 < result["expires_in"] <= 3600 for result in (first, second))
    stored = fleet.stored()
    assert stored is not None
    assert stored.secret.reveal() not in json.dumps([first, second])


def test_a_broker_renews_a_token_that_is_good_but_not_for_long_enough(fleet: RealFleet) -> None:
    hook("member").nodes.list()
    fleet.rewrite(lifetime=900.0)
    shared_providers.forget()
    result = BloqTokenBrokerOperator(task_id="b", bloq_conn_id="bloq_member", valid_for="1800").execute({})
    assert (result["version"], result["renewed"]) == (3, True)


@pytest.mark.parametrize("conn_id", ["bloq_reader", "bloq_alone"])
def test_a_broker_without_keys_or_sharing_is_refused_before_it_acts(
    fleet: RealFleet, monkeypatch: pytest.MonkeyPatch, conn_id: str
) -> None:
    alone = {**fleet.connections()["bloq_member"]}
    alone["extra"] = {name: value for name, value in alone["extra"].items() if "shar" not in name}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_ALONE", json.dumps(alone))
    before = fleet.vault.requests_seen()
    with pytest.raises(AirflowFailException, match="a broker needs a connection that shares"):
        BloqTokenBrokerOperator(task_id="broker", bloq_conn_id=conn_id).execute({})
    assert fleet.vault.requests_seen() == before


@pytest.mark.parametrize("seconds", [0, -1, "soon", "nan", None])
def test_a_broker_s_time_is_checked_before_it_acts(fleet: RealFleet, seconds: Any) -> None:
    with pytest.raises(AirflowFailException, match="valid_for"):
        BloqTokenBrokerOperator(task_id="b", bloq_conn_id="bloq_member", valid_for=seconds).execute({})


def test_the_connection_test_of_a_member_mints_for_itself_and_looks_at_the_shared_path(
    fleet: RealFleet,
) -> None:
    good, told = check_connection("bloq_member")
    assert good, told
    assert "none at Vault path" in told
    assert fleet.stored() is None
    hook("member").nodes.list()
    good, told = check_connection("bloq_member")
    assert good, told
    assert "Shared token: found, expires in" in told


def test_the_connection_test_of_a_reader_needs_a_shared_token(fleet: RealFleet) -> None:
    good, told = check_connection("bloq_reader")
    assert not good
    assert "Shared token: FAILED" in told
    hook("member").nodes.list()
    good, told = check_connection("bloq_reader")
    assert good, told
    assert "Client keys" not in told


def test_a_lease_in_vault_is_held_by_one_and_ends_by_vault_s_clock(fleet: RealFleet) -> None:
    def lease(seconds: float) -> Lease:
        account = Account.of(read_settings("bloq_member"), mask, RetryPolicy())
        assert account.store is not None
        return Lease(account.store.lease, seconds)

    run = blocking_driver().run
    first, second, brief = lease(600), lease(600), lease(1)
    assert run(first.take()) is not None
    assert run(second.take()) is None
    taken = run(first.take())
    assert taken is not None, "its holder may take it again"
    run(first.give_back(taken))
    taken = run(second.take())
    assert taken is not None
    assert run(first.take()) is None
    run(second.give_back(taken))
    assert run(brief.take()) is not None
    pause = threading.Event()
    while run(first.take()) is None:
        pause.wait(0.1)
    assert run(second.take()) is None
