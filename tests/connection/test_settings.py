"""The settings as a whole: the other fields, all problems at once, and no secret in any view of them."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.rpc.certificates import NodeTlsMode

PRINT = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
COLONS = ":".join(PRINT[i : i + 2] for i in range(0, 64, 2))


def test_numbers(parse: Any) -> None:
    for value, seconds in ((None, 30), ("", 30), (1, 1), (600, 600), (2.5, 2.5), ("45", 45), (" 0.1e2 ", 10)):
        timeout = parse(timeout=value).timeout
        assert timeout == seconds
        assert isinstance(timeout, float)
    for value, rate in ((None, None), ("", None), (5, 5.0), ("0.5", 0.5), (1000, 1000.0)):
        assert parse(requests_per_second=value).requests_per_second == rate


def test_wrong_numbers_are_rejected(reject: Any) -> None:
    for value in (0, 0.99, 600.1, -5, "abc", "30s", True, False, "nan", "inf", [30], {}, 10**400):
        error = reject(timeout=value)
        assert error.fields == ("timeout",)
        assert "from 1 to 600" in str(error)
    assert reject(requests_per_second=0).fields == ("requests_per_second",)


def test_what_is_not_a_text_is_rejected(reject: Any) -> None:
    for field in ("host", "connect_url", "environment", "vault_path"):
        for value in (7, True, ["https://a.example"], {"a": 1}):
            assert field in reject(**{field: value}).fields


def test_ca_bundle_is_a_file_or_folder_that_exists(parse: Any, reject: Any, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("")

    assert parse(ca_bundle=str(file)).ca_bundle == str(file)
    assert parse(ca_bundle=f" {tmp_path} ").ca_bundle == str(tmp_path)
    assert parse(ca_bundle="").ca_bundle is None
    assert reject(ca_bundle=str(tmp_path / "gone.pem")).fields == ("ca_bundle",)


def test_a_long_value_is_cut_in_the_message(reject: Any) -> None:
    error = reject(ca_bundle="/" + "x" * 500)

    assert "…" in str(error)
    assert "x" * 80 not in str(error)


def test_node_tls(parse: Any, reject: Any) -> None:
    for value, expected in (
        (None, NodeTlsMode.PINNED),
        ("", NodeTlsMode.PINNED),
        ("verify", NodeTlsMode.VERIFY),
        (" Insecure ", NodeTlsMode.INSECURE),
    ):
        assert parse(node_tls=value).node_tls is expected
    for value in ("off", "false", "none", "pin"):
        assert reject(node_tls=value).fields == ("node_tls",)


def test_fingerprints_are_normalised(parse: Any) -> None:
    for value in (
        {"node-1": [PRINT]},
        {" node-1 ": PRINT},
        {"node-1": [COLONS.upper(), PRINT.upper(), f" {COLONS} "]},
        {"node-1": (COLONS,)},
        json.dumps({"node-1": COLONS}),
    ):
        assert parse(node_fingerprints=value).node_fingerprints == {"node-1": frozenset({PRINT})}
    for value in (None, "", "{}", {}):
        assert parse(node_fingerprints=value).node_fingerprints == {}
    other = PRINT[::-1]
    table = parse(node_fingerprints={"a": [PRINT, other], "b": other}).node_fingerprints
    assert table == {"a": {PRINT, other}, "b": {other}}
    assert len(table) == 2


def test_wrong_fingerprints_are_rejected(reject: Any) -> None:
    for value in (
        {"node-1": []},
        {"node-1": None},
        {"node-1": 7},
        {"node-1": [7]},
        {"node-1": ""},
        {"node-1": PRINT[:-1]},
        {"node-1": PRINT + "0"},
        {"node-1": "g" + PRINT[1:]},
        {"node-1": PRINT[:40]},
        {"node-1": COLONS.replace(":", "-")},
        {"node-1": COLONS[:-3] + COLONS[-2:]},
        {"node-1": {"sha256": PRINT}},
        {"": PRINT},
        [PRINT],
        PRINT,
        7,
        "{broken",
    ):
        assert reject(node_fingerprints=value).fields == ("node_fingerprints",)


def test_all_nodes_with_wrong_fingerprints_are_named(reject: Any) -> None:
    text = str(reject(node_fingerprints={"good": PRINT, "bad-1": "x", "bad-2": []}))

    assert "bad-1" in text
    assert "bad-2" in text
    assert "good" not in text


def test_path_keys_are_secret(parse: Any, reject: Any) -> None:
    keys = parse(connect_api_keys={" ETH ": " three-word-key "}).connect_api_keys
    assert keys["eth"].reveal() == "three-word-key"
    assert "three-word-key" not in repr(keys)
    for table in ({"three word key": "x"}, {"eth": 7}, {"eth": "three word key"}, "three-word-key"):
        error = reject(connect_api_keys=table)
        assert error.fields == ("connect_api_keys",)
        assert "word" not in str(error)


def test_a_mistyped_field_is_rejected_with_the_intended_one(reject: Any) -> None:
    for name, intended in (
        ("vault_pth", "vault_path"),
        ("vaultPath", "vault_path"),
        ("VAULT_PATH", "vault_path"),
        ("vault-path", "vault_path"),
        ("extra__bloq__vault_path", "vault_path"),
        ("enviroment", "environment"),
        ("node_url", "nodes_url"),
        ("node_fingerprint", "node_fingerprints"),
        ("rpc_origin", "rpc_origins"),
        ("timeot", "timeout"),
    ):
        (problem,) = reject(**{name: "some-value"}).problems
        assert problem.field == name
        assert problem.remedy == f"Did you mean {intended}?"
        assert "some-value" not in str(problem)


def test_fields_of_later_versions_are_accepted(parse: Any) -> None:
    for name in ("stake_url", "connect_timeout", "retries", "webhook", "x", "node_labels"):
        assert parse(**{name: "some-value"}) == parse()


def test_airflows_redaction_saved_by_mistake_is_rejected_once(reject: Any) -> None:
    for parts in (
        {"password": "***"},
        {"password": Secret(" *** ")},
        {"login": "***"},
        {"host": "https://***"},
        {"port": "***"},
        {"vault_path": "***"},
        {"node_fingerprints": {"node-1": ["***"]}},
        {"node_fingerprints": {"***": PRINT}},
        {"node_fingerprints": '{"node-1": "***"}'},
        {"rpc_origins": ["https://a.example", "***"]},
        {"timeout": "***"},
        {"environment": "***"},
        {"some_later_field": {"deep": [{"er": "***"}]}},
    ):
        error = reject(**parts)
        assert error.fields == tuple(parts)
        assert "Airflow's redaction" in str(error)
        assert "Enter the value again" in str(error)


def test_a_secret_that_prints_as_stars_is_not_taken_for_the_redaction(parse: Any) -> None:
    assert parse(password=Secret("real-secret")).client_keys.client_secret.reveal() == "real-secret"


def test_all_wrong_fields_are_reported_together(reject: Any) -> None:
    error = reject(
        host="http://accounts.example",
        port=99999,
        password=None,
        environment="moon",
        nodes_url="ftp://x",
        connect_url="https://{chain}",
        timeout=0,
        ca_bundle="/does/not/exist",
        node_tls="maybe",
        node_fingerprints=[],
        rpc_origins="x",
        vault_pth="y",
    )

    assert set(error.fields) == {
        "host",
        "port",
        "password",
        "environment",
        "nodes_url",
        "connect_url",
        "timeout",
        "ca_bundle",
        "node_tls",
        "node_fingerprints",
        "rpc_origins",
        "vault_pth",
    }
    assert len(error.fields) == 12
    assert error.where == "connection 'bloq_default'"


def test_a_single_problem_names_connection_field_and_remedy(reject: Any) -> None:
    assert str(reject(password=None)) == (
        "connection 'bloq_default': password: the client ID is given, but no client secret. "
        "Enter the client secret"
    )


def test_no_view_of_the_settings_shows_the_client_secret(parse: Any) -> None:
    settings = parse(
        password="s3cret-canary", node_fingerprints={"n": PRINT}, rpc_origins="https://r.example"
    )

    for show in (repr, str, dataclasses.asdict, pickle.dumps):
        assert "s3cret-canary" not in str(show(settings))


def test_settings_cannot_be_changed(parse: Any) -> None:
    settings = parse(node_fingerprints={"n": PRINT})

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.accounts_url = "https://evil.example"
    with pytest.raises(TypeError):
        settings.node_fingerprints["m"] = frozenset()


def test_equal_connections_give_equal_settings(parse: Any) -> None:
    parts = {"node_fingerprints": {"n": PRINT}, "rpc_origins": "https://r.example"}

    assert parse(**parts) == parse(**parts) == copy.deepcopy(parse(**parts))
    assert hash(parse(**parts)) == hash(parse(**parts))
    assert parse(**parts) != parse(**parts, password="another")


def test_settings_do_not_follow_later_changes_of_the_extra() -> None:
    extra: dict[str, Any] = {"node_fingerprints": {"n": [PRINT]}}
    settings = BloqSettings.parse("c", None, None, "id", "secret", extra)
    extra["node_fingerprints"]["n"].append("x")
    extra["node_fingerprints"]["m"] = [PRINT]

    assert settings.node_fingerprints == {"n": {PRINT}}


def test_parsing_needs_neither_airflow_nor_any_http_or_vault_library() -> None:
    script = (
        "import sys\n"
        "from airflow_provider_bloq.connection.settings import BloqSettings\n"
        "BloqSettings.parse('c', None, 443, 'id', 'secret', {})\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}\n"
        "    & {'airflow', 'requests', 'aiohttp', 'hvac', 'jwt', 'urllib3', 'yarl', 'idna'}))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_the_error_can_be_pickled(reject: Any) -> None:
    error = pickle.loads(pickle.dumps(reject(timeout=0, port=99999)))

    assert isinstance(error, BloqConfigurationError)
    assert set(error.fields) == {"timeout", "port"}


def test_settings_with_secrets_cannot_be_unpickled(parse: Any) -> None:
    in_vault = {"login": None, "password": None, "vault_path": "bloq/keys"}
    for parts in ({}, {**in_vault, "connect_api_keys": {"eth": "three-word-key"}}):
        pickled = pickle.dumps(parse(**parts))
        with pytest.raises(TypeError, match="make the hook where it is used"):
            pickle.loads(pickled)


def test_settings_without_secrets_can_be_pickled(parse: Any) -> None:
    settings = parse(login=None, password=None, vault_path="bloq/keys", node_fingerprints={"n": PRINT})

    assert pickle.loads(pickle.dumps(settings)) == settings
