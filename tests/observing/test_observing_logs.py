"""What a task's log has of tokens: one line for each event, the same on both drivers, and nothing secret."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.testing.stack import LocalStack

#: Lists nodes once for each step, and makes the step before it.
Act = Callable[..., None]


@pytest.fixture(params=["blocking", "awaiting"])
def act(request: pytest.FixtureRequest) -> Act:
    def blocking(*steps: Callable[[], Any]) -> None:
        hook = BloqHook()
        for step in steps:
            step()
            hook.nodes.list()

    async def awaiting(*steps: Callable[[], Any]) -> None:
        async with BloqAsyncHook() as hook:
            for step in steps:
                step()
                await hook.nodes.list()

    return blocking if request.param == "blocking" else lambda *steps: asyncio.run(awaiting(*steps))


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """The lines of the provider's events, from a level on."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("airflow_provider_bloq.flow.events") and record.levelno >= level
    ]


def nothing() -> None:
    """Make no change before the call."""


def test_a_token_that_is_minted_refreshed_and_refused_is_a_line_each(
    stack: LocalStack, connected: Callable[..., None], act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    metadata = stack.vault.client.secrets.kv.v2.read_secret_metadata("bloq/client-keys")
    version = metadata["data"]["current_version"]
    nodes = f"GET {stack.bloq.nodes_url}/users/me/nodes"
    minted = f"Access token minted, lives 60 min, keys version {version}"
    refused = f"{nodes} refuses the access token (401); getting another one"
    act(
        nothing,
        nothing,
        lambda: stack.bloq.revoke_access_tokens(stack.keys.client_id),
        stack.revoke_tokens,
    )
    assert lines(caplog) == [
        minted,
        refused,
        "Access token refreshed, lives 60 min",
        refused,
        "Accounts refuses the refresh token (401); minting with the client keys.",
        minted,
    ]


def test_keys_that_were_rotated_are_told_by_their_versions(
    stack: LocalStack, connected: Callable[..., None], act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    act(nothing, stack.rotate_keys)
    told = lines(caplog)
    assert told[-3].startswith("Accounts refuses the client keys (401); reading Vault path")
    assert told[-2].startswith("Client keys version ")
    assert told[-1].startswith("Access token minted, lives 60 min, keys version ")


def test_a_token_from_the_shared_path_is_a_line(
    stack: LocalStack, connected: Callable[..., None], act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    everything = {"login": "", "password": stack.vault.root_token, "extra": {"auth_type": "token"}}
    shared = {"sharing": "vault", "shared_vault_path": f"bloq/shared-{uuid.uuid4()}"}
    connected(extra=shared, vault=everything)
    caplog.set_level(logging.INFO)
    act(nothing)
    assert [line.partition(",")[0] for line in lines(caplog)] == ["Access token minted"]
    caplog.clear()
    # Another process of the fleet.
    shared_providers.forget()
    act(nothing, nothing)
    assert lines(caplog) == ["Access token taken from the shared path, lives 60 min, version 1"]


def test_all_else_is_told_at_debug_only(
    stack: LocalStack, connected: Callable[..., None], act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stack.bloq.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=0))
    act(nothing)
    quiet = [line for line in lines(caplog, logging.DEBUG) if line not in lines(caplog)]
    calls = [line for line in quiet if line.startswith(f"GET {stack.bloq.nodes_url}/users/me/nodes: ")]
    assert [line.split(": ")[1].split()[0] for line in calls] == ["429", "200"]
    assert any(line.startswith("Held back for ") and line.endswith("as the service asks") for line in quiet)
    assert any(line.startswith("Client keys read from Vault path") for line in quiet)
    for secret in (stack.keys.client_secret, stack.connections()["vault_bloq"]["password"], "eyJ"):
        assert secret not in caplog.text
