"""The whole of a connection: its other fields, all problems at once, and what the value shows of itself."""

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


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 30.0),
        ("", 30.0),
        (1, 1.0),
        (600, 600.0),
        (2.5, 2.5),
        ("45", 45.0),
        (" 0.1e2 ", 10.0),
    ],
    ids=repr,
)
def test_timeout_is_a_number_of_seconds(parse: Any, value: Any, seconds: float) -> None:
    timeout = parse(timeout=value).timeout

    assert timeout == seconds
    assert isinstance(timeout, float)


@pytest.mark.parametrize(
    "value", [0, 0.99, 600.1, -5, "abc", "30s", True, False, "nan", "inf", [30], {}, 10**400], ids=repr
)
def test_timeout_out_of_range_or_no_number_is_refused(refuse: Any, value: Any) -> None:
    error = refuse(timeout=value)

    assert error.fields == ("timeout",)
    assert "from 1 to 600" in str(error)


def test_ca_bundle_is_a_file_or_folder_that_exists(parse: Any, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("")

    assert parse(ca_bundle=str(file)).ca_bundle == str(file)
    assert parse(ca_bundle=f" {tmp_path} ").ca_bundle == str(tmp_path)
    assert parse(ca_bundle="").ca_bundle is None


def test_a_ca_bundle_that_is_missing_is_refused(refuse: Any, tmp_path: Path) -> None:
    error = refuse(ca_bundle=str(tmp_path / "gone.pem"))

    assert error.fields == ("ca_bundle",)


def test_a_long_value_is_cut_in_the_message(refuse: Any) -> None:
    error = refuse(ca_bundle="/" + "x" * 500)

    assert "…" in str(error)
    assert "x" * 80 not in str(error)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, NodeTlsMode.PINNED),
        ("", NodeTlsMode.PINNED),
        ("verify", NodeTlsMode.VERIFY),
        (" Insecure ", NodeTlsMode.INSECURE),
        ("pinned", NodeTlsMode.PINNED),
    ],
)
def test_node_tls_is_pinned_unless_told(parse: Any, value: str | None, expected: NodeTlsMode) -> None:
    assert parse(node_tls=value).node_tls is expected


@pytest.mark.parametrize("value", ["off", "false", "none", "pin"])
def test_an_unknown_node_tls_is_refused(refuse: Any, value: str) -> None:
    assert refuse(node_tls=value).fields == ("node_tls",)


@pytest.mark.parametrize(
    "value",
    [
        {"node-1": [PRINT]},
        {" node-1 ": PRINT},
        {"node-1": [COLONS.upper(), PRINT.upper(), f" {COLONS} "]},
        {"node-1": (COLONS,)},
        json.dumps({"node-1": COLONS}),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_fingerprints_are_brought_into_one_spelling(parse: Any, value: Any) -> None:
    assert parse(node_fingerprints=value).node_fingerprints == {"node-1": frozenset({PRINT})}


def test_several_nodes_with_several_fingerprints(parse: Any) -> None:
    other = PRINT[::-1]
    table = parse(node_fingerprints={"a": [PRINT, other], "b": other}).node_fingerprints

    assert table == {"a": {PRINT, other}, "b": {other}}


@pytest.mark.parametrize("value", [None, "", "{}", {}], ids=repr)
def test_fingerprints_may_be_empty(parse: Any, value: Any) -> None:
    assert parse(node_fingerprints=value).node_fingerprints == {}


@pytest.mark.parametrize(
    "value",
    [
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
    ],
    ids=lambda value: repr(value)[:40],
)
def test_wrong_fingerprints_are_refused(refuse: Any, value: Any) -> None:
    assert refuse(node_fingerprints=value).fields == ("node_fingerprints",)


def test_all_wrong_nodes_are_told(refuse: Any) -> None:
    text = str(refuse(node_fingerprints={"good": PRINT, "bad-1": "x", "bad-2": []}))

    assert "bad-1" in text
    assert "bad-2" in text
    assert "good" not in text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
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
    ],
)
def test_a_mistyped_field_is_refused_with_the_one_that_was_meant(refuse: Any, name: str, meant: str) -> None:
    (problem,) = refuse(**{name: "some-value"}).problems

    assert problem.field == name
    assert problem.remedy == f"Did you mean {meant}?"
    assert "some-value" not in str(problem)


@pytest.mark.parametrize("name", ["stake_url", "connect_timeout", "retries", "webhook", "x", "node_labels"])
def test_fields_of_later_versions_are_let_pass(parse: Any, name: str) -> None:
    assert parse(**{name: "some-value"}) == parse()


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"password": "***"}, "password"),
        ({"password": Secret(" *** ")}, "password"),
        ({"login": "***"}, "login"),
        ({"host": "https://***"}, "host"),
        ({"port": "***"}, "port"),
        ({"vault_path": "***"}, "vault_path"),
        ({"node_fingerprints": {"node-1": ["***"]}}, "node_fingerprints"),
        ({"node_fingerprints": {"***": PRINT}}, "node_fingerprints"),
        ({"node_fingerprints": '{"node-1": "***"}'}, "node_fingerprints"),
        ({"rpc_origins": ["https://a.example", "***"]}, "rpc_origins"),
        ({"timeout": "***"}, "timeout"),
        ({"environment": "***"}, "environment"),
        ({"some_later_field": {"deep": [{"er": "***"}]}}, "some_later_field"),
    ],
    ids=repr,
)
def test_airflows_redaction_saved_by_mistake_is_refused_once(
    refuse: Any, parts: dict[str, Any], field: str
) -> None:
    error = refuse(**parts)

    assert error.fields == (field,)
    assert "redaction, saved by mistake" in str(error)
    assert "Enter the value again" in str(error)


def test_a_real_secret_that_prints_as_stars_is_not_taken_for_the_redaction(parse: Any) -> None:
    assert parse(password=Secret("real-secret")).client_keys.client_secret.reveal() == "real-secret"


def test_all_wrong_fields_are_reported_together(refuse: Any) -> None:
    error = refuse(
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


def test_a_single_problem_names_connection_field_and_remedy(refuse: Any) -> None:
    assert str(refuse(password=None)) == (
        "connection 'bloq_default': password: the client ID is given, but no client secret. "
        "Enter the client secret"
    )


@pytest.mark.parametrize(
    "show",
    [repr, str, dataclasses.asdict, lambda settings: pickle.dumps(settings)],
    ids=["repr", "str", "asdict", "pickle"],
)
def test_no_view_of_the_settings_shows_the_client_secret(parse: Any, show: Any) -> None:
    settings = parse(
        password="s3cret-canary", node_fingerprints={"n": PRINT}, rpc_origins="https://r.example"
    )

    assert "s3cret-canary" not in str(show(settings))


def test_settings_cannot_be_changed(parse: Any) -> None:
    settings = parse(node_fingerprints={"n": PRINT})

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.accounts_url = "https://evil.example"
    with pytest.raises(TypeError):
        settings.node_fingerprints["m"] = frozenset()


def test_equal_connections_make_equal_settings(parse: Any) -> None:
    parts = {"node_fingerprints": {"n": PRINT}, "rpc_origins": "https://r.example"}

    assert parse(**parts) == parse(**parts) == copy.deepcopy(parse(**parts))
    assert hash(parse(**parts)) == hash(parse(**parts))
    assert parse(**parts) != parse(**parts, password="another")


def test_settings_do_not_follow_later_changes_of_what_they_were_read_from() -> None:
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


def test_the_error_survives_the_way_between_processes(refuse: Any) -> None:
    error = pickle.loads(pickle.dumps(refuse(timeout=0, port=99999)))

    assert isinstance(error, BloqConfigurationError)
    assert set(error.fields) == {"timeout", "port"}


@pytest.mark.parametrize("extra", [{}, {"login": None, "connect_api_keys": {"eth": "three-word-key"}}])
def test_settings_with_secrets_do_not_come_out_of_a_pickle(parse: Any, extra: dict[str, Any]) -> None:
    if extra:
        extra = {**extra, "password": None, "vault_path": "bloq/keys"}
    pickled = pickle.dumps(parse(**extra))

    with pytest.raises(TypeError, match="make the hook where it is used"):
        pickle.loads(pickled)


def test_settings_without_secrets_come_out_of_a_pickle_as_they_were(parse: Any) -> None:
    settings = parse(login=None, password=None, vault_path="bloq/keys")

    assert pickle.loads(pickle.dumps(settings)) == settings
