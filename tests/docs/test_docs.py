"""What README and docs say is held against the code: their examples run, their policies are policies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hvac.exceptions import InvalidRequest

from airflow_provider_bloq.connection.fields import EXTRA_FIELDS
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.testing.stack import member_policy, reader_policy, worker_policy
from tests.accounts.team import account_policy
from tests.docs.markdown import Block, anchors, blocks, links
from tests.docs.public_classes import public_names
from tests.docs.running import run

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
KEYS, SHARED, ACCOUNT = "bloq/client-keys", "bloq/shared", "bloq/account"


def of_language(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, language)]


@pytest.fixture(scope="module")
def vault() -> Iterator[LocalVault]:
    with LocalVault() as running:
        yield running


def test_python_blocks_can_be_parsed_without_reaching_out() -> None:
    done = run([block for page in PAGES for block in blocks(page, "python")])
    assert done.returncode == 0, done.stderr


def test_python_that_fails_or_reaches_out_is_reported_with_page_and_line() -> None:
    wrong = {
        "from airflow_provider_bloq.sensors.chains import BloqNoSuchSensor": "BloqNoSuchSensor",
        "from airflow_provider_bloq.hooks.bloq import BloqHook\nBloqHook().settings": "parsing reaches out",
        "import requests\nrequests.get('http://127.0.0.1:9')": "parsing reaches out",
    }
    given = [Block(Path(f"page{number}.md"), 41, "python", text) for number, text in enumerate(wrong)]
    done = run([*given, Block(Path("last.md"), 50, "python", "")])
    assert done.returncode == 1
    for number, complaint in enumerate(wrong.values()):
        _, _, trace = done.stderr.partition(f'File "page{number}.md", line 4')
        assert complaint in trace.partition('File "page')[0]


def test_every_public_class_has_an_example_in_the_docs() -> None:
    examples = "\n".join(block.text for page in DOCS for block in blocks(page, "python"))
    # A mapped operator is called by partial, a decorator stands behind its sign.
    used = set(re.findall(r"\b(\w+)(?:\.partial)?\(|@(task\.\w+)", examples))
    assert public_names() - {name for pair in used for name in pair} == set()


def test_public_classes_are_found() -> None:
    some = {"BloqCreateNodeOperator", "BloqRotateClientKeysOperator", "BloqBlockSensor", "BloqWaitTrigger"}
    assert some | {"BloqBlockTrigger", "blocks", "task.bloq"} <= public_names()
    assert public_names().isdisjoint({"BloqOperator", "BloqSensor", "BloqChainTrigger", "BloqStartTrigger"})


def test_json_blocks_are_json_and_connections_are_valid() -> None:
    for block in of_language("json"):
        shown = json.loads(block.text)
        if shown.get("conn_type") == "bloq":
            settings = settings_of(shown)
            assert (settings.shared is not None) == (shown["extra"].get("sharing") == "vault"), block


def test_a_connection_with_a_wrong_field_is_noticed() -> None:
    with pytest.raises(BloqConfigurationError, match="shared_vault_path"):
        settings_of({"conn_type": "bloq", "extra": {"sharing": "vault"}})


def settings_of(shown: dict[str, Any]) -> BloqSettings:
    fields = {name: shown.get(name) for name in ("host", "port", "login", "password")}
    return BloqSettings.parse("bloq_documented", extra=shown.get("extra", {}), **fields)


def test_a_real_vault_accepts_the_policies(vault: LocalVault) -> None:
    for block in of_language("hcl"):
        vault.write_policy("documented", block.text)
    with pytest.raises(InvalidRequest):
        vault.write_policy("documented", 'path "secret/data/bloq" { capabilities = ["reed"] }')


def rules(policy: str) -> dict[str, frozenset[str]]:
    found = re.findall(r'path "([^"]+)" \{\s*capabilities = \[([^\]]*)\]\s*\}', policy)
    return {path: frozenset(re.findall(r'"(\w+)"', capabilities)) for path, capabilities in found}


def test_policies_are_those_that_the_tests_of_fleets_and_rotation_use() -> None:
    by_page = {
        page: [rules(block.text) for block in blocks(ROOT / page, "hcl")]
        for page in ("README.md", "docs/rotation.md", "docs/fleets.md")
    }
    worker = rules(worker_policy(KEYS))
    assert by_page == {
        "README.md": [worker],
        "docs/rotation.md": [rules(account_policy(KEYS, ACCOUNT)), worker],
        "docs/fleets.md": [worker, rules(reader_policy(SHARED)), rules(member_policy(SHARED, KEYS))],
    }


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for link in links(page):
            file, _, fragment = link.partition("#")
            target = page.parent / file if file else page
            if not target.exists() or (fragment and fragment not in anchors(target)):
                broken.append((page.name, link))
    assert broken == []


def test_every_page_and_every_example_is_linked_to() -> None:
    index = set(links(ROOT / "docs" / "index.md"))
    assert {page.name for page in DOCS if page.stem != "index"} <= index
    examples = {f"example_dags/{path.name}" for path in (ROOT / "example_dags").glob("*.py")}
    assert examples <= set(links(README))


def test_the_readme_names_every_field_of_the_connection() -> None:
    first_cells = re.findall(r"^\| (.+?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(EXTRA_FIELDS) <= {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}


def test_code_blocks_say_what_language_they_are_in() -> None:
    unknown = [str(block) for page in PAGES for block in blocks(page) if not block.language]
    assert unknown == []
