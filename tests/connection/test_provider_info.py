"""The provider's metadata: valid by Airflow's schemas, equal to the settings' fields, and shown by Airflow's code."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from airflow_provider_bloq import __version__
from airflow_provider_bloq import get_provider_info as module
from airflow_provider_bloq.connection.fields import EXTRA_FIELDS
from airflow_provider_bloq.get_provider_info import get_provider_info

# What a provider.yaml of Airflow's own repository must have beyond the metadata of a package.
YAML_ONLY = {"state": "ready", "source-date-epoch": 0, "versions": ["0.1.0"]}


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    """The metadata."""
    return get_provider_info()


@pytest.fixture(scope="module")
def connection_type(info: dict[str, Any]) -> dict[str, Any]:
    """The one connection type in it."""
    (only,) = info["connection-types"]
    return dict(only)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh Airflow process reports about this provider."""
    script = """
import json, sys
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
from airflow._shared.secrets_masker import should_hide_value_for_key as by_core
from airflow.sdk._shared.secrets_masker import should_hide_value_for_key as by_sdk
from airflow.providers_manager import ProvidersManager
metas = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "bloq"]
loaded = [name for name in sys.modules if name.startswith("airflow_provider_bloq")]
names = json.loads(sys.argv[1])
print("\\n" + json.dumps({
    "metas": [meta.model_dump() for meta in metas],
    "loaded": loaded,
    "version": ProvidersManager().providers["airflow-provider-bloq"].version,
    "hidden": [name for name in names if by_core(name) or by_sdk(name)],
    "control": [by_core("client_secret"), by_sdk("client_secret")],
}))
"""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    shown = subprocess.run(
        [sys.executable, "-c", script, json.dumps(list(EXTRA_FIELDS))],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    result: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
    return result


def schema(name: str) -> dict[str, Any]:
    """Read a JSON schema that Airflow ships."""
    loaded: dict[str, Any] = json.loads((Path(str(files("airflow"))) / name).read_text())
    return loaded


def test_is_valid_by_the_schema_that_airflow_checks(info: dict[str, Any]) -> None:
    jsonschema.validate(info, schema("provider_info.schema.json"))


def test_is_valid_by_the_stricter_schema_of_airflows_own_providers(info: dict[str, Any]) -> None:
    jsonschema.validate({**info, **YAML_ONLY}, schema("provider.yaml.schema.json"))


def test_the_stricter_schema_is_not_met_by_chance(info: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**info, **YAML_ONLY, "unknown-key": 1}, schema("provider.yaml.schema.json"))


def test_the_form_has_the_fields_of_the_settings(connection_type: dict[str, Any]) -> None:
    fields = connection_type["conn-fields"]

    assert fields == {
        field.name: {"label": field.label, "description": field.help, "schema": field.schema}
        for field in EXTRA_FIELDS.values()
    }
    assert list(fields) == list(EXTRA_FIELDS)


def test_only_the_schema_is_hidden(connection_type: dict[str, Any]) -> None:
    assert connection_type["ui-field-behaviour"]["hidden-fields"] == ["schema"]
    assert connection_type["ui-field-behaviour"]["placeholders"]["port"] == "443"


def test_no_url_and_no_vault_field_has_a_default(connection_type: dict[str, Any]) -> None:
    with_default = {
        name for name, field in connection_type["conn-fields"].items() if "default" in field["schema"]
    }

    assert with_default == {"environment", "sharing", "timeout", "node_tls"}


def test_the_defaults_that_an_untouched_form_stores_change_nothing(
    parse: Any, connection_type: dict[str, Any]
) -> None:
    stored = {name: field["schema"].get("default") for name, field in connection_type["conn-fields"].items()}

    assert parse(**stored) == parse()


def test_the_module_imports_nothing() -> None:
    imports = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]

    assert [getattr(node, "module", None) for node in imports] == ["__future__"]


def test_the_entry_point_leads_to_it(info: dict[str, Any]) -> None:
    (point,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        value="airflow_provider_bloq.get_provider_info:get_provider_info"
    )

    assert point.load()() == info
    assert point.dist is not None
    assert point.dist.name == info["package-name"]


def test_airflow_shows_the_form_without_importing_the_hook(
    probe: dict[str, Any], connection_type: dict[str, Any]
) -> None:
    (meta,) = probe["metas"]

    assert meta["hook_name"] == "Bloq"
    assert meta["hook_class_name"] == "airflow_provider_bloq.hooks.bloq.BloqHook"
    assert list(meta["extra_fields"]) == list(EXTRA_FIELDS)
    for name, shown in meta["extra_fields"].items():
        field = connection_type["conn-fields"][name]
        assert shown["schema"] == {**field["schema"], "title": field["label"]}
        assert shown["description"] == field["description"]
    assert set(probe["loaded"]) == {"airflow_provider_bloq", "airflow_provider_bloq.get_provider_info"}


def test_airflow_labels_the_standard_fields(probe: dict[str, Any]) -> None:
    standard = probe["metas"][0]["standard_fields"]

    assert standard["url_schema"]["hidden"]
    assert not any(standard[name]["hidden"] for name in ("host", "port", "login", "password"))
    assert standard["login"]["title"] == "Client ID"
    assert standard["password"]["title"] == "Client secret"
    assert standard["port"]["placeholder"] == "443"


def test_airflow_masks_the_one_secret_field_by_its_name(probe: dict[str, Any]) -> None:
    assert probe["control"] == [True, True]
    assert probe["hidden"] == ["connect_api_keys"]


def test_airflow_knows_the_version(probe: dict[str, Any]) -> None:
    assert probe["version"] == __version__


def python_modules(info: dict[str, Any]) -> Iterator[str]:
    """Yield every module that the metadata lists."""
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            yield from entry["python-modules"]


def test_every_listed_module_exists(info: dict[str, Any]) -> None:
    package = Path(str(files("airflow_provider_bloq")))

    for name in python_modules(info):
        assert (package.parent / Path(*name.split("."))).with_suffix(".py").is_file(), name
