"""The stream with the stock JavaScript client, socket.io-client 2.5.0 of npm, untouched."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.testing.anvil_download import npm_command
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.downloads import run_tool
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.connect_caller import ConnectCaller
from tests.support.shared_chain import SharedChain

pytestmark = pytest.mark.bitcoind

PACKAGE = "socket.io-client@2.5.0"
SCRIPT = Path(__file__).with_name("stock_client.js")
PATIENCE = 60.0

Start = Callable[..., LocalBloq]
#: The command that runs Node.js, and the folder that the client was installed in.
Stock = tuple[str, Path]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    folder = tmp_path_factory.mktemp("stock-client")
    try:
        npm = npm_command(folder)
        (folder / "package.json").write_text("{}")
        run_tool(
            [*npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE],
            cwd=folder,
            purpose=f"install {PACKAGE}",
            remedy="Check which registry npm is configured with.",
        )
    except TestingSetupError as error:
        pytest.skip(f"NO STOCK CLIENT, the stream is tested with our own alone: {error}")
    node = npm[0] if len(npm) > 1 else shutil.which("node")
    if node is None:
        pytest.skip("NO STOCK CLIENT, the stream is tested with our own alone: there is npm, but no node")
    return node, folder


class Running:
    """One run of the client."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def seen(self) -> list[Any]:
        """Return the next thing that the client saw."""
        line: list[Any] = json.loads(self._lines.get(timeout=PATIENCE))
        return line

    def until(self, *wanted: Any) -> list[list[Any]]:
        """Return what the client saw up to and with this."""
        found = [self.seen()]
        while found[-1] != list(wanted):
            found.append(self.seen())
        return found

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)


@contextmanager
def running(stock: Stock, url: str, token: str, fresh: str, *room: Any) -> Iterator[Running]:
    node, folder = stock
    argv = [node, str(SCRIPT), str(folder), url, token, fresh, json.dumps(room)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def test_it_begins_by_polls_goes_on_by_websocket_and_hears_of_everything(
    stock: Stock, connect: ConnectCaller, regtest: Bitcoind
) -> None:
    payment = pay([regtest.coin()], fee=2_000)
    with running(stock, connect.bloq.connect_url, connect.token, "", "inv") as client:
        assert client.seen() == ["connect", "polling"]
        first = [client.seen(), client.seen()]
        assert sorted(first) == [["subscribed"], ["upgrade", "websocket"]]
        regtest.send(payment)
        assert client.seen() == ["tx", payment.txid]
        (block,) = regtest.mine()
        assert client.seen() == ["tx", regtest.rpc("getblock", block, 1)["tx"][0]]
        assert client.seen() == ["block", block]


def test_it_hears_of_an_address(stock: Stock, connect: ConnectCaller, regtest: Bitcoind) -> None:
    payment = pay([regtest.coin()], fee=2_000)
    address = regtest.rpc("decoderawtransaction", payment.raw)["vout"][0]["scriptPubKey"]["address"]
    room = ("bitcoind/addresstxid", [address])
    with running(stock, connect.bloq.connect_url, connect.token, "", *room) as client:
        client.until("subscribed")
        regtest.send(payment)
        client.until(address, payment.txid)


def test_it_reconnects_after_its_connection_was_cut(
    stock: Stock, connect: ConnectCaller, regtest: Bitcoind
) -> None:
    with running(stock, connect.bloq.connect_url, connect.token, connect.token, "inv") as client:
        for _ in range(3):
            client.until("subscribed")
            assert connect.bloq.drop_streams() == 1
        client.until("subscribed")
        (block,) = regtest.mine()
        client.until("block", block)


def test_it_gets_the_reason_and_reconnects_with_a_new_token(
    stock: Stock, start: Start, regtest: Bitcoind
) -> None:
    bloq = start(
        connect_upstreams={"btc": lambda: SharedChain(regtest)},
        access_token_seconds=3_600,
        connect_idle_seconds=10_000,
    )
    old = ConnectCaller.of(bloq)
    bloq.advance_clock(1_800)
    new = ConnectCaller.of(bloq)
    with running(stock, bloq.connect_url, old.token, new.token, "inv") as client:
        client.until("subscribed")
        bloq.advance_clock(1_801)
        client.until("disconnect", "jwt expired")
        client.until("subscribed")
        (block,) = regtest.mine()
        client.until("block", block)
    assert "stream" in bloq.where_seen(new.token)


def test_it_gets_an_error_for_a_refused_token(stock: Stock, start: Start, regtest: Bitcoind) -> None:
    bloq = start(connect_upstreams={"btc": lambda: SharedChain(regtest)})
    old = ConnectCaller.of(bloq)
    bloq.advance_clock(3_601)
    new = ConnectCaller.of(bloq)
    with running(stock, bloq.connect_url, old.token, new.token, "inv") as client:
        client.until("error", "jwt expired")
        client.until("subscribed")
