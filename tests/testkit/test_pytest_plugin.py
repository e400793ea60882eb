"""The pytest plugin for authors of DAGs, used as the docs say, by pytest in a process of its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.markdown import blocks
from tests.testkit.project import CONFTEST, PAGE, Project, documented_files

# Each runs a pytest of its own, which loads Airflow anew.
pytestmark = pytest.mark.slow

#: The service without chains, which starts at once.
NO_CHAINS = """
import pytest
from airflow_provider_bloq.testing import LocalBloqOptions

@pytest.fixture(scope="session")
def bloq_local_options():
    return LocalBloqOptions(upstreams={}, access_token_seconds=60)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project that has the plugin, and a service without chains."""
    empty = Project(tmp_path)
    empty.write("conftest.py", CONFTEST + NO_CHAINS)
    return empty


@pytest.fixture
def documented(tmp_path: Path) -> Project:
    """The project of the docs, as it stands there."""
    whole = Project(tmp_path)
    for name, text in documented_files().items():
        whole.write(name, text)
    return whole


@pytest.mark.slow
@pytest.mark.anvil
def test_the_project_of_the_docs_passes_its_tests(documented: Project) -> None:
    assert outcomes(documented.test()) == {"passed": 4}


@pytest.mark.slow
@pytest.mark.anvil
def test_a_wrong_dag_fails_its_tests(documented: Project) -> None:
    for right, wrong in (
        ('method="eth_blockNumber"', 'method="eth_noSuchMethod"'),
        ("next(s.id for", "next(s.name for"),
        ("the_dag = chain_height()", "the_dag = chain_hight()"),
    ):
        text = documented_files()["dags/chain_height.py"]
        assert right in text
        documented.write("dags/chain_height.py", text.replace(right, wrong))
        done = documented.test("-k", "test_it_leaves_no_node")
        assert done.returncode == 1, done.stdout
        assert "passed" not in done.stdout.splitlines()[-1]


def test_the_fault_example_of_the_docs_passes(project: Project) -> None:
    (example,) = [block.text for block in blocks(PAGE, "python") if "two_refusals" in block.text]
    project.write("test_faults.py", example)
    assert outcomes(project.test()) == {"passed": 1}


def test_the_switches_of_the_docs_do_what_the_docs_say(project: Project) -> None:
    project.write(
        "test_switches.py",
        """
import pytest
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqVaultUnavailable
from airflow_provider_bloq.hooks.bloq import BloqHook


@pytest.fixture
def bloq(bloq_connection):
    hook = BloqHook()
    hook.nodes.list()
    return hook

def test_expired(bloq, bloq_local):
    bloq_local.advance_clock(3600)
    bloq.nodes.list()
    counts = bloq_local.counters()
    assert (counts.unauthorized, counts.refreshes) == ({"nodes": 1}, 1)

def test_all_expired(bloq, bloq_local):
    bloq_local.advance_clock(366 * 86400)
    bloq.nodes.list()
    assert bloq_local.counters().mints == 2

def test_revoked_tokens(bloq, bloq_connection, bloq_local):
    bloq_connection.revoke_tokens()
    bloq.nodes.list()
    assert (bloq_local.counters().mints, bloq_connection.key_reads()) == (2, 1)

def test_rotated(bloq, bloq_connection, bloq_local):
    bloq_connection.rotate_keys()
    bloq.nodes.list()
    assert (bloq_local.counters().mints, bloq_connection.key_reads()) == (2, 2)

def test_revoked_keys(bloq, bloq_connection):
    bloq_connection.revoke_keys()
    with pytest.raises(BloqClientKeysRejected):
        bloq.nodes.list()

def test_sealed(bloq_connection, bloq_vault):
    bloq_vault.seal()
    with pytest.raises(BloqVaultUnavailable):
        BloqHook().nodes.list()
""",
    )
    assert outcomes(project.test()) == {"passed": 6}


def test_no_test_meets_what_another_has_left(project: Project) -> None:
    project.write(
        "test_twice.py",
        """
import os
import pytest
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing import Fault, FaultKind

@pytest.mark.parametrize("turn", range(2))
def test_it_begins_afresh(turn, bloq_connection, bloq_local, bloq_vault):
    assert abs(bloq_local.now() - bloq_local.options.clock()) < 60
    assert bloq_local.counters().mints == 0
    assert BloqHook().nodes.list() == []
    assert bloq_local.counters().mints == 1
    assert bloq_connection.key_reads() == 1
    BloqHook().nodes.create(bloq_local.service_id())
    bloq_local.add_fault(Fault(kind=FaultKind.STATUS, times=None))
    bloq_local.advance_clock(86_400)
    bloq_vault.seal()

def test_the_environment_is_as_before():
    assert not [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]
    assert os.environ["HTTP_PROXY"] == "http://127.0.0.1:9"
""",
    )
    done = project.test(HTTP_PROXY="http://127.0.0.1:9")
    assert outcomes(done) == {"passed": 3}


def test_vault_is_not_started_for_a_test_that_wants_the_service_alone(project: Project) -> None:
    project.write("test_one.py", "def test_it(bloq_local):\n    assert bloq_local.accounts_url\n")
    done = project.test("--setup-show")
    assert outcomes(done) == {"passed": 1}
    assert "_bloq_service" in done.stdout
    assert "_bloq_vault_server" not in done.stdout


def test_to_load_the_plugin_loads_no_airflow_and_no_service(project: Project) -> None:
    project.write(
        "test_lazy.py",
        "import sys\n\ndef test_it():\n"
        "    assert not {'airflow', 'aiohttp', 'hvac', 'requests', 'cryptography'} & set(sys.modules)\n",
    )
    project.write("conftest.py", CONFTEST)
    assert outcomes(project.test("-p", "no:hypothesispytest", "-p", "no:anyio")) == {"passed": 1}


def test_without_the_extra_a_fixture_names_the_remedy(project: Project) -> None:
    # Metadata of an older installation, which the import finds first.
    project.write(
        "older/airflow_provider_bloq-0.0.1.dist-info/METADATA",
        "Metadata-Version: 2.4\nName: airflow-provider-bloq\nVersion: 0.0.1\nProvides-Extra: testing\n"
        "Requires-Dist: requests>=2\nRequires-Dist: no-such-program>=3; extra == 'testing'\n",
    )
    project.write("conftest.py", CONFTEST)
    project.write("test_it.py", "def test_it(bloq_local):\n    pass\n\ndef test_other():\n    pass\n")
    done = project.test(PYTHONPATH=str(project.folder / "older"))
    assert outcomes(done) == {"passed": 1, "error": 1}
    assert "no-such-program>=3" in done.stdout
    assert "Remedy: pip install 'airflow-provider-bloq[testing]'" in done.stdout


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return how many tests had which outcome, by pytest's last line."""
    lines = done.stdout.splitlines() or [""]
    found = re.findall(r"(\d+) (passed|failed|error|skipped)", lines[-1])
    assert found, done.stdout + done.stderr
    counts = {outcome: int(count) for count, outcome in found}
    assert counts.keys() <= {"passed", "error"}, done.stdout[-8_000:]
    return counts
