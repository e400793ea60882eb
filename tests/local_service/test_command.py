"""The command ``bloq-local``."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.bitcoind import Bitcoind
from tests.local_service.service_caller import call

_COMMAND = [sys.executable, "-m", "airflow_provider_bloq.testing.command"]
_FREE_PORTS = ["--accounts-port", "0", "--nodes-port", "0", "--connect-port", "0"]


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*_COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def _finished(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def test_it_prints_one_line_of_json_works_and_ends_with_0_on_a_signal() -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        with _running(*_FREE_PORTS, "--json", "--no-chains") as run:
            assert run.stdout is not None
            facts = json.loads(run.stdout.readline())
            keys = {"clientId": facts["client_id"], "clientSecret": facts["client_secret"]}
            minted = call(
                "POST", facts["accounts_url"] + "/auth/token", json={"grantType": "clientCredentials", **keys}
            )
            token = minted.json()["accessToken"]
            assert call("GET", facts["nodes_url"] + "/users/me/nodes", token).json() == []
            login = (facts["user"], facts["password"])
            assert call("POST", facts["accounts_url"] + "/auth", auth=login).status_code == 200
            assert call("GET", facts["admin_url"] + "/counters", facts["admin_bearer"]).json()["mints"] == 1
            assert "BEGIN CERTIFICATE" in Path(facts["ca_bundle"]).read_text()
            run.send_signal(stop)
            assert run.wait(30) == 0
            assert run.stderr is not None
            assert run.stderr.read() == ""
        assert not Path(facts["ca_bundle"]).exists()


def test_the_text_names_all_that_a_person_needs() -> None:
    with _running(*_FREE_PORTS, "--no-chains") as run:
        assert run.stdout is not None
        text = ""
        while "Ctrl-C" not in text:
            line = run.stdout.readline()
            assert line, text
            text += line
    for name in (
        "accounts url",
        "nodes url",
        "user",
        "password",
        "client id",
        "client secret",
        "admin bearer",
    ):
        assert name in text


def test_the_file_of_keys_is_whole_private_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "client-keys.json"
    path.write_text("of a run that was killed")
    with _running(*_FREE_PORTS, "--json", "--no-chains", "--keys-file", str(path)) as run:
        assert run.stdout is not None
        facts = json.loads(run.stdout.readline())
        keys = {"clientId": facts["client_id"], "clientSecret": facts["client_secret"]}
        assert json.loads(path.read_text()) == keys
        assert path.stat().st_mode & 0o777 == 0o600
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
    assert not path.exists()


def test_a_file_of_keys_that_cannot_be_written_ends_it_with_1_and_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "client-keys.json"
    done = _finished(*_COMMAND, *_FREE_PORTS, "--no-chains", "--keys-file", str(path))
    assert done.returncode == 1
    assert "client-keys.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_program_behind_the_nodes_it_says_so_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOQ_ANVIL", str(tmp_path / "no-anvil"))
    with _running(*_FREE_PORTS, "--json") as run:
        assert run.stdout is not None
        assert "client_id" in json.loads(run.stdout.readline())
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
        assert run.stderr is not None
        assert "Ethereum nodes have no chain: BLOQ_ANVIL names" in run.stderr.read()


def test_a_taken_port_ends_it_with_1_and_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = _finished(*_COMMAND, "--accounts-port", port, "--nodes-port", "0")
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_not_loopback_ends_it_with_2() -> None:
    done = _finished(*_COMMAND, "--host", "0.0.0.0")
    assert (done.returncode, "loopback" in done.stderr) == (2, True)


def test_without_the_extra_it_prints_the_remedy_and_ends_with_2() -> None:
    for missing in ("cryptography", "jwt", "aiohttp"):
        # None in sys.modules makes an import fail as that of a package that is not installed.
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from airflow_provider_bloq.testing.command import main\n"
            "sys.exit(main([]))"
        )
        done = _finished(sys.executable, "-c", code)
        assert done.returncode == 2
        assert "pip install 'airflow-provider-bloq[testing]'" in done.stderr


def test_another_import_that_fails_is_not_taken_for_the_missing_extra() -> None:
    code = (
        "import sys; sys.modules['fnmatch'] = None\n"
        "from airflow_provider_bloq.testing.command import main\n"
        "sys.exit(main([]))"
    )
    done = _finished(sys.executable, "-c", code)
    assert done.returncode == 1
    assert "fnmatch" in done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.bitcoind
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_bitcoin_node_has_the_chain_that_connect_shows(regtest: Bitcoind) -> None:
    # That there is a bitcoind is what the fixture is for; the command runs one of its own.
    with _running(*_FREE_PORTS, "--json") as run:
        assert run.stdout is not None
        facts = json.loads(run.stdout.readline())
        keys = {"clientId": facts["client_id"], "clientSecret": facts["client_secret"]}
        minting = {"grantType": "clientCredentials", **keys}
        token = call("POST", facts["accounts_url"] + "/auth/token", json=minting).json()["accessToken"]
        services = call("GET", facts["nodes_url"] + "/services/nodes", token).json()
        bitcoin = next(one["id"] for one in services if (one["chain"], one["network"]) == ("btc", "mainnet"))
        order = {"serviceId": bitcoin, "authType": "jwt"}
        node = call("POST", facts["nodes_url"] + "/users/me/nodes", token, json=order).json()
        assert node["state"] == "started"
        rpc = {"id": 1, "method": "getbestblockhash"}
        answer = call("POST", f"https://{node['ip']}:8332/", token, json=rpc, verify=False, timeout=60.0)
        path = "/api/v1/status?q=getBestBlockHash"
        assert call("GET", facts["connect_url"] + path, token).json() == {
            "bestblockhash": answer.json()["result"]
        }
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
