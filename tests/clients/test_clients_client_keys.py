"""The list of client keys, whose items name a pair in either way that Accounts may."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import (
    AccountLogin,
    AsyncClientKeysClient,
    ClientKeysClient,
    KeyListing,
    ListedKeys,
)
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.retry import NO_RETRIES
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from tests.support.drivers import PATIENT, DriverKind
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve

CREATED = "2026-11-24T10:00:00.000Z"


def accounts(serve: Serve, items: Any) -> RawServer:
    """Serve an Accounts that lists these."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        answer = {"accessToken": "a-token"} if request.target == "/auth" else items
        connection.reply(200, json.dumps(answer).encode())

    return serve(script)


def listed(kind: DriverKind, url: str) -> KeyListing:
    login = AccountLogin("ann@example.com", Secret("a fine password"), "a test")
    told: dict[str, Any] = {"url": url, "login": login, "policy": NO_RETRIES}
    if kind == "blocking":
        driver = SyncDriver(PATIENT, mask=lambda secret: None)
        try:
            return ClientKeysClient(driver.run, **told).list()
        finally:
            driver.close()

    async def mask(secret: str) -> None:
        """Nothing here is shown."""

    async def awaited() -> KeyListing:
        adriver = AsyncDriver(PATIENT, mask=mask)
        try:
            return await AsyncClientKeysClient(adriver.run, **told).list()
        finally:
            await adriver.close()

    return asyncio.run(awaited())


def test_a_pair_is_named_by_id_or_by_client_id(serve: Serve, kind: DriverKind) -> None:
    items = [
        {"id": "a" * 40, "createdAt": CREATED},
        {"clientId": "b" * 40, "createdAt": CREATED},
        {"id": "", "clientId": "c" * 40},
        {"id": "d" * 40, "clientId": "e" * 40},
    ]
    keys = listed(kind, accounts(serve, items).url).keys
    assert keys == (
        ListedKeys("a" * 40, CREATED),
        ListedKeys("b" * 40, CREATED),
        ListedKeys("c" * 40, None),
        ListedKeys("d" * 40, None),
    )


@pytest.mark.parametrize("item", [{}, {"id": 7}, {"clientId": ""}, {"clientSecret": "x"}, "a" * 40, None])
def test_a_pair_without_a_name_is_told(serve: Serve, kind: DriverKind, item: Any) -> None:
    with pytest.raises(BloqUnavailable, match="a pair of client keys without an id"):
        listed(kind, accounts(serve, [{"id": "a" * 40}, item]).url)
