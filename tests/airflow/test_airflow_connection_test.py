"""Airflow's Test button, by its REST API: what a person is told of a good and of a bad connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.leaks import leaks


def press(airflow: LocalAirflow, fields: dict[str, Any]) -> tuple[bool, str]:
    # Of one that is stored already, Airflow refuses to send the stored secrets to another address.
    body = {"connection_id": "bloq_not_stored_yet", **fields, "extra": json.dumps(fields["extra"])}
    answer = airflow.call("POST", "connections/test", json=body)
    return answer["status"], answer["message"]


def test_a_good_connection_is_told_stage_by_stage(airflow: LocalAirflow, short_lived: LocalStack) -> None:
    good, message = press(airflow, short_lived.connections()["bloq_default"])
    assert good, message
    stages = [line.partition(":")[0] for line in message.splitlines()]
    assert stages[:4] == ["Client keys", "Access token", "Nodes", "Connect"]
    assert no_leak(message, short_lived)


def test_a_wrong_path_is_told_by_the_name_of_the_field(
    airflow: LocalAirflow, short_lived: LocalStack
) -> None:
    fields = short_lived.connections()["bloq_default"]
    good, message = press(airflow, {**fields, "extra": {**fields["extra"], "vault_path": "bloq/elsewhere"}})
    assert not good
    assert "FAILED" in message
    assert "vault_path" in message
    assert no_leak(message, short_lived)


@pytest.mark.parametrize("field", ["accounts", "nodes_url"])
def test_a_service_that_is_not_there_is_named(
    airflow: LocalAirflow, short_lived: LocalStack, field: str
) -> None:
    fields = short_lived.connections()["bloq_default"]
    # The discard port, where nothing listens.
    nowhere = "http://127.0.0.1:9"
    if field == "accounts":
        fields["host"] = nowhere
    else:
        fields["extra"]["nodes_url"] = nowhere
    good, message = press(airflow, fields)
    assert not good
    assert nowhere in message
    assert no_leak(message, short_lived)


def test_refused_keys_are_told_without_the_keys(
    airflow: LocalAirflow, short_lived: LocalStack, refused_secret: str
) -> None:
    extra = {"environment": "local", "nodes_url": short_lived.bloq.nodes_url}
    fields = {
        "conn_type": "bloq",
        "host": short_lived.bloq.accounts_url,
        "login": short_lived.keys.client_id,
        "password": refused_secret,
        "extra": extra,
    }
    good, message = press(airflow, fields)
    assert not good
    assert "FAILED" in message
    assert not leaks({"the refused secret": refused_secret}, {"the answer": message.encode()})


def no_leak(message: str, stack: LocalStack) -> bool:
    secrets = {
        "the client secret": stack.keys.client_secret,
        "the secret id": stack.connections()["vault_bloq"]["password"],
    }
    return not leaks(secrets, {"the answer": message.encode()})
