"""Shell, YAML and settings in README and docs are what they are said to be, and Kubernetes is told no secret."""

from __future__ import annotations

import configparser
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml  # type: ignore[import-untyped]
from airflow.sdk.configuration import conf

from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.vault.vault_settings import read_vault_settings
from tests.docs.markdown import Block, blocks

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
#: Sections of other programs.
FOREIGN = {"pytest"}


def of_language(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def commands(console: str) -> str:
    """Return what is typed in a console: what stands behind the prompts, and goes on where a line says so."""
    typed: list[str] = []
    goes_on = False
    for line in console.splitlines():
        if line.startswith("$ ") or goes_on:
            typed.append(line.removeprefix("$ "))
            goes_on = line.endswith("\\")
    return "\n".join(typed)


def complaint_of_bash(script: str) -> str:
    return subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=60
    ).stderr


def test_scripts_and_console_input_are_valid_bash() -> None:
    scripts = {block: block.text for block in of_language("bash", "sh", "shell")}
    typed = {block: commands(block.text) for block in of_language("console")}
    assert all(typed.values())
    complaints = {str(block): complaint_of_bash(text) for block, text in (scripts | typed).items()}
    assert {block: complaint for block, complaint in complaints.items() if complaint} == {}


def test_bash_notices_what_is_none() -> None:
    assert "syntax error" in complaint_of_bash(commands("$ airflow ( \nits output ("))
    assert commands("$ a \\\n    b\noutput (\n$ c") == "a \\\n    b\nc"


def test_airflow_knows_the_settings() -> None:
    for block in of_language("ini"):
        shown = configparser.ConfigParser()
        shown.read_string(block.text)
        for section in set(shown.sections()) - FOREIGN:
            known = conf.configuration_description[section]["options"]
            assert set(shown[section]) <= set(known), block


def manifests(block: Block) -> list[dict[str, Any]]:
    """Return the documents of a YAML block that are Kubernetes' own."""
    documents = [document for document in yaml.safe_load_all(block.text) if document is not None]
    return [each for each in documents if {"apiVersion", "kind", "metadata", "spec"} & set(each)]


def test_yaml_blocks_are_yaml_and_kubernetes_manifests_are_complete() -> None:
    for block in of_language("yaml", "yml"):
        for manifest in manifests(block):
            assert {"apiVersion", "kind"} <= set(manifest), manifest
            assert manifest["metadata"]["name"]


def of_kubernetes(page: str, kind: str) -> list[dict[str, Any]]:
    found = [each for block in blocks(ROOT / page, "yaml") for each in manifests(block)]
    return [each for each in found if each["kind"] == kind]


def test_connections_of_the_config_map_are_right_and_hold_no_secret() -> None:
    (config_map,) = of_kubernetes("docs/operations.md", "ConfigMap")
    given = {
        name.removeprefix("AIRFLOW_CONN_").lower(): json.loads(value)
        for name, value in config_map["data"].items()
        if name.startswith("AIRFLOW_CONN_")
    }
    bloq, vault = given["bloq_default"], given["vault_bloq"]
    settings = BloqSettings.parse(
        "bloq_default", host=None, port=bloq["port"], login=None, password=None, extra=bloq["extra"]
    )
    assert settings.conn_id == "bloq_default"
    assert bloq["extra"]["vault_conn_id"] in given
    fields = dict.fromkeys(("login", "password", "schema", "port")) | vault | {"extra_dejson": vault["extra"]}
    endpoint = read_vault_settings(SimpleNamespace(**fields), "vault_bloq")
    assert endpoint.url.startswith("https://")
    assert endpoint.auth_type == "kubernetes"
    assert not any({"login", "password"} & set(connection) for connection in given.values())


def test_the_pod_asks_for_the_config_map_and_the_account_that_are_there() -> None:
    (pod,) = of_kubernetes("docs/operations.md", "Pod")
    sources = [source for container in pod["spec"]["containers"] for source in container["envFrom"]]
    there = {each["metadata"]["name"] for each in of_kubernetes("docs/operations.md", "ConfigMap")}
    assert {source["configMapRef"]["name"] for source in sources} == there
    accounts = {each["metadata"]["name"] for each in of_kubernetes("docs/operations.md", "ServiceAccount")}
    assert {pod["spec"]["serviceAccountName"]} == accounts
    # Airflow takes the container of this name for the task's.
    assert [container["name"] for container in pod["spec"]["containers"]] == ["base"]
