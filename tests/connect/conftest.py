"""Connect of a local service with a real Bitcoin node behind it; skipped where there is no bitcoind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.bitcoin.conftest import bitcoin, bitcoind, shared_bitcoin
from tests.hooks.conftest import Connect, connect, new_keys, no_tokens_of_others, serve
from tests.operators.conftest import context
from tests.support.drivers import DriverKind
from tests.support.raw_server import RawConnection, SeenRequest, Serve
from tests.support.shared_chain import SharedChain

__all__ = [
    "SEGWIT",
    "Ask",
    "Change",
    "Changing",
    "ScriptedConnect",
    "address_of",
    "bitcoin",
    "bitcoind",
    "connect",
    "context",
    "fresh_payment",
    "no_tokens_of_others",
    "serve",
    "shared_bitcoin",
]

SEGWIT = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"

#: Changes an answer of Connect: from path, status and body to status and body.
Change = Callable[[str, int, bytes], tuple[int, bytes]]
#: Puts such a change between the connection and the local service.
Changing = Callable[[Change], None]
#: Calls an operation of Connect by its name.
Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def running_connect(shared_bitcoin: Bitcoind) -> Iterator[LocalBloq]:
    """One local service, whose Bitcoin has that node behind it."""
    upstreams = {"btc": lambda: SharedChain(shared_bitcoin)}
    with LocalBloq(LocalBloqOptions(upstreams={}, connect_upstreams=upstreams)) as running:
        yield running


@pytest.fixture
def bloq(running_connect: LocalBloq, connect: Connect, bitcoin: Bitcoind) -> Iterator[LocalBloq]:
    """That service, to which ``bloq_default`` leads with a new account."""
    running_connect.reset_counters()
    connected(connect, running_connect)
    yield running_connect
    running_connect.clear_faults()


@pytest.fixture
def changing(bloq: LocalBloq, connect: Connect, serve: Serve) -> Changing:
    """Have ``bloq_default`` lead to the local service by way of something that changes its answers."""
    passed = ("authorization", "content-type", "host")

    def put_between(change: Change) -> None:
        def answer(connection: RawConnection, request: SeenRequest) -> None:
            given = requests.request(
                request.method,
                bloq.connect_url + request.target,
                data=request.body,
                headers={name: value for name, value in request.headers.items() if name in passed},
                timeout=60,
            )
            status, body = change(urlsplit(request.target).path, given.status_code, given.content)
            connection.reply(status, body, Content_Type="application/json")

        connected(connect, bloq, connect_url=serve(answer).url)

    return put_between


@pytest.fixture(scope="session")
def running_evm(chain: Anvil) -> Iterator[LocalBloq]:
    """One local service whose Connect has a chain like Ethereum behind it."""
    upstreams = {"eth": lambda: SharedChain(chain)}
    with LocalBloq(LocalBloqOptions(upstreams={}, connect_upstreams=upstreams)) as running:
        yield running


@pytest.fixture
def ask(bloq: LocalBloq) -> Ask:
    """Call an operation by its name."""
    return asker()


class ScriptedConnect:
    """A Connect, for ``bloq_default``, that returns the same answer to every request.

    :param serve: Starts a server.
    :param connect: Sets up the connection.
    """

    def __init__(self, serve: Serve, connect: Connect) -> None:
        #: Status and body.
        self.answer = (404, b"Not found")
        #: The same for GET requests, if it differs.
        self.answer_to_get: tuple[int, bytes] | None = None
        self.server = serve(self._reply)
        url = self.server.url
        connect(url, url, extra={"connect_url": url})
        self.ask = asker(network="mainnet")

    def _reply(self, connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
        elif request.method == "GET" and self.answer_to_get is not None:
            connection.reply(*self.answer_to_get)
        else:
            connection.reply(*self.answer)


@pytest.fixture
def scripted(serve: Serve, connect: Connect) -> ScriptedConnect:
    return ScriptedConnect(serve, connect)


def asker(kind: DriverKind = "blocking", chain: str = "btc", network: str | None = None) -> Ask:
    """Return a function that calls an operation of Connect; iterators become lists."""

    def blocking(name: str, **parameters: Any) -> Any:
        asked = getattr(BloqHook().connect(chain, network), name)(**parameters)
        return list(asked) if isinstance(asked, Iterator) else asked

    async def awaited(name: str, **parameters: Any) -> Any:
        async with BloqAsyncHook() as hook:
            asked = getattr(hook.connect(chain, network), name)(**parameters)
            return [one async for one in asked] if isinstance(asked, AsyncIterator) else await asked

    return blocking if kind == "blocking" else lambda *a, **k: asyncio.run(awaited(*a, **k))


def connected(connect: Connect, service: LocalBloq, **extra: Any) -> None:
    """Have ``bloq_default`` lead to a service, with a new account."""
    extra = {"connect_url": service.connect_url, **extra}
    connect(service.accounts_url, service.nodes_url, new_keys(service), extra=extra)


def address_of(node: Bitcoind, payment: BitcoinPayment, index: int = 0) -> str:
    script = node.rpc("decoderawtransaction", payment.raw)["vout"][index]["scriptPubKey"]
    address: str = script["address"]
    return address


def fresh_payment(node: Bitcoind, *, outputs: int = 1) -> BitcoinPayment:
    """Make a payment that was not sent."""
    return pay([node.coin()], fee=2_000, outputs=outputs)


def as_json(value: Any) -> Any:
    """Return what JSON makes of a value, which must be possible."""
    return json.loads(json.dumps(value, allow_nan=False))
