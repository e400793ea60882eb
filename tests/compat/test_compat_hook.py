"""The hooks on every supported Airflow: connection, client keys from a real Vault, tokens, 401, masking."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_bloq.exceptions import BloqClientKeysRejected
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.stack import LocalTeam

pytestmark = pytest.mark.compat


def test_a_connection_is_parsed_as_json_and_as_a_uri_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"environment": "local", "nodes_url": "http://127.0.0.1:1", "timeout": "7"}
    as_json = {"conn_type": "bloq", "host": "http://127.0.0.1:2", "login": "id", "extra": extra}
    as_json["password"] = secret = "a secret / of a client"
    monkeypatch.setenv("AIRFLOW_CONN_AS_JSON", json.dumps(as_json))
    where = f"id:{quote(secret, safe='')}@{quote('http://127.0.0.1:2', safe='')}"
    monkeypatch.setenv("AIRFLOW_CONN_AS_URI", f"bloq://{where}/?__extra__={quote(json.dumps(extra))}")
    by_json, by_uri = BloqHook("as_json").settings, BloqHook("as_uri").settings
    assert (by_json.accounts_url, by_json.nodes_url) == ("http://127.0.0.1:2", "http://127.0.0.1:1")
    assert (by_uri.accounts_url, by_uri.nodes_url) == (by_json.accounts_url, by_json.nodes_url)
    assert by_json.timeout == by_uri.timeout == 7


def test_a_token_is_minted_refreshed_and_renewed_after_a_401(bloq_connection: LocalTeam) -> None:
    bloq, hook = bloq_connection.bloq, BloqHook()
    assert hook.nodes.list() == []
    bloq.revoke_access_tokens(bloq_connection.keys.client_id)
    assert hook.nodes.list() == []
    counts = bloq.counters()
    assert (counts.mints, counts.refreshes, counts.unauthorized) == (1, 1, {"nodes": 1})
    bloq_connection.revoke_tokens()
    assert hook.get_conn().get(f"{bloq.nodes_url}/users/me/nodes").json() == []
    assert bloq.counters().mints == 2
    assert bloq_connection.key_reads() == 1


def test_new_keys_are_read_from_vault_when_the_old_ones_are_refused(bloq_connection: LocalTeam) -> None:
    hook = BloqHook()
    hook.nodes.list()
    bloq_connection.rotate_keys()
    assert hook.nodes.list() == []
    assert bloq_connection.key_reads() == 2


async def test_the_hook_of_the_event_loop_does_the_same(bloq_connection: LocalTeam) -> None:
    async with BloqAsyncHook() as hook:
        assert await hook.nodes.list() == []
        bloq_connection.rotate_keys()
        assert await hook.nodes.list() == []
    assert bloq_connection.bloq.counters().mints == 2


def test_what_is_secret_is_masked(bloq_connection: LocalTeam) -> None:
    token = BloqHook().get_access_token()
    assert redact(f"{token} {bloq_connection.keys.client_secret}") == "*** ***"


def test_the_test_of_the_connection_succeeds_and_fails(bloq_connection: LocalTeam) -> None:
    works, said = BloqHook().test_connection()
    assert works, said
    bloq_connection.revoke_keys()
    works, said = BloqHook().test_connection()
    assert not works
    assert bloq_connection.keys.client_secret not in said


def test_keys_that_are_refused_fail_a_task_for_good(bloq_connection: LocalTeam) -> None:
    from airflow.providers.common.compat.sdk import AirflowFailException

    bloq_connection.revoke_keys()
    with pytest.raises(AirflowFailException) as refused:
        BloqHook().nodes.list()
    assert isinstance(refused.value, BloqClientKeysRejected)
