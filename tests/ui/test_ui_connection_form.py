"""The form of a ``bloq`` connection in the real web page of Airflow."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Locator, Page

from airflow_provider_bloq.get_provider_info import get_provider_info
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.stack import LocalStack
from tests.ui.form import ConnectionForm, Connections

pytestmark = pytest.mark.slow

Screenshot = Callable[[Page | Locator, str], None]

PATH_KEY = "path-key-canary-c41f77a0"
CLIENT_SECRET = "client-secret-canary-2b9e6d53"


def fields_of_the_form() -> dict[str, dict[str, Any]]:
    info: dict[str, Any] = get_provider_info()
    return dict(info["connection-types"][0]["conn-fields"])


def opened(page: Page, airflow: LocalAirflow, conn_id: str) -> tuple[Connections, ConnectionForm]:
    connections = Connections(page, airflow.url)
    form = connections.add()
    form.standard("connection_id").fill(conn_id)
    form.choose_type("Bloq")
    return connections, form


def stored(airflow: LocalAirflow, conn_id: str) -> dict[str, Any]:
    """What Airflow answers of a connection, with its extras parsed."""
    shown = airflow.call("GET", f"connections/{conn_id}")
    return {**shown, "extra": json.loads(shown["extra"])}


def secrets_kept(airflow: LocalAirflow, conn_id: str) -> tuple[str, dict[str, str]]:
    """Read client secret and path keys in Airflow's database, with its own key."""
    with sqlite3.connect(airflow.database) as database:
        found = database.execute("SELECT password, extra FROM connection WHERE conn_id = ?", (conn_id,))
        password, extra = (Fernet(airflow.fernet_key).decrypt(value).decode() for value in found.fetchone())
    return password, json.loads(extra)["connect_api_keys"]


def test_every_field_is_there_with_its_label_and_help(
    page: Page, airflow: LocalAirflow, screenshot: Screenshot
) -> None:
    _, form = opened(page, airflow, "bloq_only_looked_at")
    for label in (
        "Accounts host or URL",
        "Client ID",
        "Client secret",
        "Port (443 unless the host names another)",
    ):
        assert form.dialog.get_by_text(label, exact=True).is_visible()
    assert form.standard("schema").count() == 0
    assert form.standard("password").get_attribute("type") == "password"
    screenshot(form.dialog, "connection-standard-fields")
    form.unfold()
    for name, field in fields_of_the_form().items():
        assert form.dialog.get_by_text(field["label"], exact=True).is_visible(), name
        assert form.dialog.get_by_text(field["description"], exact=True).is_visible(), name
    screenshot(form.dialog, "connection-extra-fields")


def test_what_was_saved_is_there_after_each_edit_and_secrets_are_not_shown(
    page: Page, airflow: LocalAirflow, stack: LocalStack, seen: list[bytes], screenshot: Screenshot
) -> None:
    local = stack.connections()["bloq_default"]
    connections, form = opened(page, airflow, "bloq_saved")
    form.standard("host").fill(local["host"])
    form.standard("port").fill(str(urlsplit(local["host"]).port))
    form.standard("login").fill("client-id")
    form.standard("password").fill(CLIENT_SECRET)
    form.unfold()
    form.choose("environment", "local")
    form.field("nodes_url").fill(local["extra"]["nodes_url"])
    form.field("timeout").fill("45")
    form.field("rpc_origins").fill("https://one.example:8545\nhttps://two.example")
    form.write_json("connect_api_keys", json.dumps({"eth": PATH_KEY}))
    form.save()

    first = stored(airflow, "bloq_saved")
    assert first["extra"]["connect_api_keys"] == {"eth": "***"}
    assert first["password"] == "***"
    assert {
        name: first["extra"][name] for name in ("environment", "timeout", "rpc_origins", "nodes_url")
    } == {
        "environment": "local",
        "timeout": 45,
        "rpc_origins": ["https://one.example:8545", "https://two.example"],
        "nodes_url": local["extra"]["nodes_url"],
    }

    form = connections.edit("bloq_saved")
    form.unfold()
    form.field("vault_id_field").fill("")
    form.field("timeout").fill("46")
    screenshot(form.dialog, "connection-edited")
    form.save()
    form = connections.edit("bloq_saved")
    form.unfold()
    form.field("timeout").fill("45")
    form.save()

    assert stored(airflow, "bloq_saved") == first
    assert secrets_kept(airflow, "bloq_saved") == (CLIENT_SECRET, {"eth": PATH_KEY})
    assert [text for text in seen if PATH_KEY.encode() in text or CLIENT_SECRET.encode() in text] == []
    assert PATH_KEY not in page.content()


def test_the_test_button_is_green_stage_by_stage_and_red_with_the_remedy(
    page: Page, airflow: LocalAirflow, stack: LocalStack, screenshot: Screenshot
) -> None:
    local = stack.connections()["bloq_default"]
    connections, form = opened(page, airflow, "bloq_tested")
    form.standard("host").fill(local["host"])
    # Airflow 3.3 cannot test a connection in which no port is stored.
    form.standard("port").fill(str(urlsplit(local["host"]).port))
    form.unfold()
    form.choose("environment", "local")
    for name in ("nodes_url", "connect_url", "vault_conn_id", "vault_path"):
        form.field(name).fill(local["extra"][name])
    form.save()
    answer = connections.test("bloq_tested")
    assert answer["status"] is True, answer
    told = connections.told("Test Connection Successful")
    for stage in ("Client keys: found", "Access token: minted", "Nodes: ", "Connect: "):
        told.get_by_text(stage).wait_for()
    screenshot(told, "connection-test-green")

    form = connections.edit("bloq_tested")
    form.unfold()
    form.field("vault_path").fill("bloq/elsewhere")
    form.save()
    answer = connections.test("bloq_tested")
    assert answer["status"] is False
    told = connections.told("Test Connection Failed")
    told.get_by_text("vault_path").wait_for()
    screenshot(told, "connection-test-red")
