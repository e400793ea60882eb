"""The extras of a connection that cannot be read: they are never taken for none, which would mean production."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from tests.support.drivers import DRIVERS, DriverKind

pytestmark = pytest.mark.logic


async def opened() -> None:
    async with BloqAsyncHook():
        pass


@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.parametrize(
    "extra",
    [
        '{"environment": "staging", "note": "a-secret",}',
        "{'environment': 'staging'}",
        "environment=staging a-secret",
        '["a-secret"]',
        '"a-secret"',
        "7",
    ],
    ids=["comma", "quotes", "text", "list", "string", "number"],
)
def test_extras_that_are_no_json_object_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: DriverKind, extra: str
) -> None:
    connection = {"conn_type": "bloq", "login": "client-id", "password": "a-word", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
    with pytest.raises(BloqConfigurationError, match="JSON object") as refused:
        _ = BloqHook().settings if kind == "blocking" else asyncio.run(opened())
    assert refused.value.fields == ("extra",)
    assert "a-secret" not in str(refused.value)


@pytest.mark.parametrize("extra", ["", None, "{}", {}])
def test_no_extras_are_fine(monkeypatch: pytest.MonkeyPatch, extra: object) -> None:
    connection = {"conn_type": "bloq", "login": "client-id", "password": "a-word", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
    assert BloqHook().settings.environment.value == "prod"
