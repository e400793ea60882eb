"""The hook and its session: what user code gets."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.nodes.models import Node
from airflow_provider_bloq.testing.local import Fault, FaultKind, IssuedKeys, LocalBloq
from tests.hooks.conftest import Connect, new_keys
from tests.support.raw_server import RawConnection, SeenRequest, Serve

NODES = "/users/me/nodes"


def password_of(node: Node) -> str:
    assert node.auth is not None
    assert node.auth.password is not None
    return node.auth.password.reveal()


def test_any_user_code_works_with_the_session(service: LocalBloq, keys: IssuedKeys) -> None:
    session = BloqHook().get_conn()
    body = {"serviceId": service.service_id("btc"), "authType": "jwt"}
    made = session.post(service.nodes_url + NODES, json=body)
    assert made.status_code == 201
    with session.get(service.nodes_url + NODES, stream=True) as streamed:
        assert made.json()["id"].encode() in b"".join(streamed.iter_content(64))
    assert session.delete(f"{service.nodes_url}{NODES}/{made.json()['id']}").status_code == 204
    assert session.get(service.nodes_url + "/chains", params={"x": 1}).ok
    assert service.counters().mints == 1


def test_the_session_answers_an_expired_token_by_itself(service: LocalBloq, keys: IssuedKeys) -> None:
    session = BloqHook().get_conn()
    assert session.get(service.nodes_url + NODES).ok
    for _ in range(2):
        service.revoke_access_tokens(keys.client_id)
        body = {"serviceId": service.service_id("btc"), "authType": "jwt"}
        assert session.post(service.nodes_url + NODES, json=body).status_code == 201
    service.revoke_access_tokens(keys.client_id)
    with session.get(service.nodes_url + NODES, stream=True) as streamed:
        assert len(streamed.json()) == 2
    counts = service.counters()
    assert (counts.mints, counts.refreshes, counts.unauthorized) == (1, 3, {"nodes": 3})


def test_a_business_error_stays_as_it_is(service: LocalBloq, keys: IssuedKeys) -> None:
    service.add_fault(Fault(kind=FaultKind.LIMIT_EXCEEDED, service="nodes"))
    refused = BloqHook().get_conn().get(service.nodes_url + NODES)
    assert (refused.status_code, refused.json()["code"]) == (403, "LimitExceeded")
    counts = service.counters()
    assert (counts.mints, counts.refreshes) == (1, 0)


def test_the_session_is_kept_so_that_its_connections_are(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    assert hook.get_conn() is hook.get_conn()


def test_hooks_of_one_credential_share_its_token(service: LocalBloq, keys: IssuedKeys) -> None:
    tokens = {BloqHook().get_access_token() for _ in range(5)}
    assert len(tokens) == 1
    assert BloqHook().nodes.list() == []
    assert service.counters().mints == 1


def test_hooks_of_other_credentials_do_not(service: LocalBloq, keys: IssuedKeys, connect: Connect) -> None:
    first = BloqHook().get_access_token()
    connect(service.accounts_url, service.nodes_url, new_keys(service))
    assert BloqHook().get_access_token() != first
    assert service.counters().mints == 2


def test_the_access_token_is_fresh_at_each_call(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    first = hook.get_access_token()
    assert hook.get_access_token() == first
    service.revoke_access_tokens(keys.client_id)
    hook.nodes.list()
    assert hook.get_access_token() != first


def test_tokens_and_keys_are_masked_as_soon_as_they_are_there(service: LocalBloq, keys: IssuedKeys) -> None:
    token = BloqHook().get_access_token()
    said = redact(f"{token} {keys.client_secret} {keys.client_id}")
    assert said == f"*** *** {keys.client_id}"
    password = password_of(BloqHook().nodes.create(service.service_id("btc"), "basic"))
    assert redact(f"x{password}x") == "x***x"


async def test_tokens_are_masked_on_the_event_loop_as_well(service: LocalBloq, keys: IssuedKeys) -> None:
    async with BloqAsyncHook() as bloq:
        token = await bloq.get_access_token()
        password = password_of(await bloq.nodes.create(service.service_id("btc"), "basic"))
    assert redact(f"{token} {password}") == "*** ***"


def test_the_connection_is_read_once_per_hook(
    service: LocalBloq, keys: IssuedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = BloqHook()
    assert hook.nodes.list() == []
    monkeypatch.delenv("AIRFLOW_CONN_BLOQ_DEFAULT")
    assert hook.nodes.list() == []
    assert hook.get_conn().get(service.nodes_url + NODES).ok
    assert hook.get_access_token()


def test_many_threads_may_use_one_hook(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    barrier = threading.Barrier(16)

    def call(_: int) -> int:
        barrier.wait()
        hook.nodes.list()
        return int(hook.get_conn().get(service.nodes_url + NODES).status_code)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(16))) == [200] * 16
    assert service.counters().mints == 1


async def test_a_blocking_hook_in_a_coroutine_does_not_deadlock(connect: Connect, serve: Serve) -> None:
    first_arrived, released = threading.Event(), threading.Event()
    minted: list[str] = []

    def bloq(connection: RawConnection, request: SeenRequest) -> None:
        if request.target != "/auth/token":
            connection.reply(200, b"[]")
            return
        minted.append(f"token-{len(minted)}")
        token = minted[-1]
        if len(minted) == 1:
            first_arrived.set()
            released.wait()
        connection.reply(200, json.dumps({"accessToken": token}).encode())

    server = serve(bloq)
    connect(server.url, server.url)
    async with BloqAsyncHook() as twin:
        minting = asyncio.create_task(twin.get_access_token())
        await asyncio.to_thread(first_arrived.wait)
        # The mint under way is led on this very loop, which this call now blocks.
        assert BloqHook().nodes.list() == []
        released.set()
        assert await minting in minted
    assert len(minted) == 2
