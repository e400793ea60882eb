"""The contract of all operations: both drivers send the same requests and return the same results or errors.

Every ``operation`` of every client is called over a real socket: answered at once, after a refused credential, and
with an error. Other tests of the clients need only one driver.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.connect.client import ConnectApi
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.flow.effects import RunsAsync, RunsBlocking, operation
from airflow_provider_bloq.flow.retry import NO_RETRIES
from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
from airflow_provider_bloq.rpc.certificates import NodeTlsMode
from airflow_provider_bloq.rpc.client import RpcApi
from airflow_provider_bloq.rpc.endpoint import NodeEndpointResolver, NodeTlsSettings
from tests.support.drivers import awaiting_driver, blocking_driver
from tests.support.raw_server import RawConnection, RawServer, SeenRequest

NODE = {"id": "n-1", "chain": "ETH", "network": "mainnet", "state": "started", "auth": {"type": "jwt"}}
CLUSTER = {**NODE, "capacity": 3, "auth": {"type": "basic", "user": "u", "pass": "p"}}
OFFER = {"id": "s-1", "chain": "eth", "network": "mainnet", "metadata": {"software": "geth"}}
#: The transaction of Bitcoin's genesis block, its id, and an address that it pays.
RAW = (
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054"
    "696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420"
    "666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61"
    "deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
TXID = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
ADDRESS = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
TRANSACTION = {
    "txid": TXID,
    "blockheight": 0,
    "fees": 0,
    "vin": [{"coinbase": "04"}],
    "vout": [{"value": 50}],
}
BLOCK = {"hash": TXID, "height": 7, "time": 1, "confirmations": 2, "tx": [TXID]}
PAGE = {"pagesTotal": 1, "totalItems": 1, "from": 0, "to": 1, "txs": [TRANSACTION], "items": [TRANSACTION]}

AMOUNTS = {"balance": 1.5, "totalReceived": 1.5, "totalSent": 0, "unconfirmedBalance": 0}


class ByMethod(dict[str, Any]):
    """What the server returns by HTTP method: a create lists first."""


#: By client: its operations with their arguments, and what the server returns.
CALLS: dict[type, list[tuple[str, dict[str, Any], Any]]] = {
    NodesApi: [
        ("chains", {}, [OFFER]),
        ("services", {}, [OFFER]),
        ("list", {}, [NODE]),
        ("get", {"id": "n-1"}, NODE),
        ("create", {"service_id": "s-1"}, ByMethod(GET=[], POST=NODE)),
        ("delete", {"id": "n-1"}, None),
        ("logs", {"id": "n-1", "lines": 2}, ["a", "b"]),
    ],
    ClustersApi: [
        ("chains", {}, [OFFER]),
        ("services", {}, [OFFER]),
        ("list", {}, [CLUSTER]),
        ("get", {"id": "c-1"}, CLUSTER),
        ("create", {"service_id": "s-1", "capacity": 3}, ByMethod(GET=[], POST=CLUSTER)),
        ("delete", {"id": "c-1"}, None),
        ("update", {"id": "c-1", "capacity": 4}, None),
        ("abort_update", {"id": "c-1"}, None),
        ("set_alias", {"id": "c-1", "alias": "main"}, None),
    ],
    ConnectApi: [
        ("info", {}, {"info": {"blocks": 7, "relayfee": 0.00001}}),
        ("difficulty", {}, {"difficulty": 1.5}),
        ("best_block_hash", {}, {"bestblockhash": TXID}),
        ("last_block", {}, {"syncTipHash": TXID, "lastblockhash": TXID}),
        ("sync", {}, {"status": "finished", "syncPercentage": "100"}),
        ("peer", {}, {"connected": True}),
        ("estimate_fee", {"blocks": 2}, {"2": 0.0001}),
        ("block", {"block_hash": TXID}, BLOCK),
        ("block_hash", {"height": 7}, {"blockHash": TXID}),
        ("raw_block", {"block_hash": TXID}, {"rawblock": "00"}),
        ("blocks", {"date": "2026-01-01", "limit": 1}, {"blocks": [BLOCK]}),
        ("transaction", {"txid": TXID}, TRANSACTION),
        ("raw_transaction", {"txid": TXID}, {"rawtx": RAW}),
        ("transactions_of_block", {"block_hash": TXID}, PAGE),
        ("transactions_of_address", {"address": ADDRESS}, PAGE),
        ("address", {"address": ADDRESS, "first": 0, "end": 1}, {"addrStr": ADDRESS, **AMOUNTS}),
        ("balance", {"address": ADDRESS}, 150),
        ("total_received", {"address": ADDRESS}, 150),
        ("total_sent", {"address": ADDRESS}, 0),
        ("unconfirmed_balance", {"address": ADDRESS}, -1),
        ("unspent", {"addresses": ADDRESS}, [{"address": ADDRESS, "txid": TXID, "vout": 0, "satoshis": 1}]),
        ("address_transactions", {"addresses": ADDRESS, "end": 1}, PAGE),
        ("send", {"raw_transaction": RAW}, {"txid": TXID}),
    ],
    RpcApi: [
        ("call", {"method": "eth_blockNumber"}, {"jsonrpc": "2.0", "id": 1, "result": "0x7"}),
        (
            "batch",
            {"calls": ["eth_chainId", "eth_blockNumber"]},
            [{"id": 1, "result": "0x1"}, {"id": 2, "result": "0x7"}],
        ),
    ],
}


class InlineKeys:
    """Client keys that do not change."""

    description = "a test"
    identity = ("test",)

    def load(self) -> KeyReading:
        return KeyReading(ClientKeys("client-id", Secret("client-secret")))

    async def aload(self) -> KeyReading:
        return self.load()

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass
class Scripted:
    """A server that gives tokens, and one answer to everything else.

    :param refusals: How many requests to refuse with a 401 before answering.
    """

    status: int = 200
    answer: Any = None
    refusals: int = 0
    tokens: int = 0
    url: str = ""
    seen: list[tuple[str, str, str | None, bytes]] = field(default_factory=list)

    def reset(self, status: int, answer: Any, refusals: int) -> None:
        self.status, self.answer, self.refusals = status, answer, refusals
        self.tokens = 0
        self.seen = []

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        self.seen.append((request.method, request.target, request.authorization, request.body))
        if request.target in ("/auth", "/auth/token"):
            self.tokens += 1
            status, answer = 200, {"accessToken": f"token-{self.tokens}"}
        elif self.refusals:
            self.refusals -= 1
            status, answer = 401, {}
        else:
            status, answer = self.status, self.answer
            if isinstance(answer, ByMethod):
                answer = answer[request.method]
        body = b"" if answer is None else json.dumps(answer).encode()
        connection.reply(204 if answer is None and status == 200 else status, body)


@pytest.fixture
def server() -> Iterator[Scripted]:
    script = Scripted()
    with RawServer(script) as running:
        script.url = running.url
        yield script


def description_of(api: type, url: str) -> dict[str, Any]:
    """The arguments of a client of one account, with no token yet."""
    origins = TrustedOrigins([Origin.of(url)])
    provider = ClientKeysTokenProvider(AccountsTokenEndpoint(url, NO_RETRIES), InlineKeys())
    bearer = BearerAuth(provider, origins)
    service = {"url": url, "bearer": bearer, "policy": NO_RETRIES}
    if api is ConnectApi:
        return {**service, "chain": "btc"}
    if api is not RpcApi:
        return service
    resolver = NodeEndpointResolver(
        f"{url}/rpc",
        nodes=NodesApi(**service),
        clusters=ClustersApi(**service),
        origins=origins,
        tls=NodeTlsSettings(NodeTlsMode.PINNED, {}, True),
        fingerprints=frozenset(),
    )
    return {"resolver": resolver, "bearer": bearer, "policy": NO_RETRIES}


def blocking(api: type, url: str, name: str, arguments: dict[str, Any]) -> Any:
    driver = blocking_driver()
    try:
        client = type("Client", (RunsBlocking, api), {})(driver.run, **description_of(api, url))
        return getattr(client, name)(**arguments)
    except BloqError as error:
        return type(error), str(error)
    finally:
        driver.close()


def awaited(api: type, url: str, name: str, arguments: dict[str, Any]) -> Any:
    async def act() -> Any:
        driver = awaiting_driver()
        try:
            client = type("Client", (RunsAsync, api), {})(driver.run, **description_of(api, url))
            return await getattr(client, name)(**arguments)
        except BloqError as error:
            return type(error), str(error)
        finally:
            await driver.close()

    return asyncio.run(act())


def is_error(outcome: Any) -> bool:
    return isinstance(outcome, tuple) and len(outcome) == 2 and isinstance(outcome[0], type)


@pytest.mark.parametrize("api", CALLS, ids=lambda api: api.__name__)
def test_both_drivers_do_the_same(server: Scripted, api: type) -> None:
    for name, arguments, answer in CALLS[api]:
        seen = []
        for status, body, refusals in ((200, answer, 0), (200, answer, 1), (404, {"code": "NotFound"}, 0)):
            outcomes = []
            for call in (blocking, awaited):
                server.reset(status, body, refusals)
                outcomes.append((call(api, server.url, name, arguments), server.seen))
            assert outcomes[0] == outcomes[1], name
            assert is_error(outcomes[0][0]) == (status == 404), name
            seen.append(outcomes[0][1])
        answered, refused, _ = seen
        # The refused request is sent again, unchanged but for its token.
        assert [one[2] for one in refused if one[1] not in ("/auth", "/auth/token")][:2] == [
            "Bearer token-1",
            "Bearer token-2",
        ], name
        assert refused[-1][3] == answered[-1][3], name


def test_every_operation_is_in_the_contract() -> None:
    for api, calls in CALLS.items():
        operations = {name for name in dir(api) if isinstance(getattr(api, name, None), operation)}
        assert operations == {name for name, *_ in calls}


@pytest.mark.parametrize("mixin", [RunsBlocking, RunsAsync])
def test_every_client_is_in_the_contract(mixin: type) -> None:
    clients = {base for client in mixin.__subclasses__() for base in client.__bases__} - {mixin}
    assert {api for api in clients if api.__module__.startswith("airflow_provider_bloq")} <= CALLS.keys()
    assert {NodesApi, ClustersApi, ConnectApi, RpcApi} <= clients
