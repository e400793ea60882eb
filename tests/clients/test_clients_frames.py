"""No secret stands in a local variable, the context or a field of what a failing call raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import AccountLogin, ClientKeysApi
from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.auth.shared_token_store import Record, SharedToken
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqError, BloqUnavailable
from airflow_provider_bloq.flow.retry import NO_RETRIES
from airflow_provider_bloq.rpc.endpoint import ConnectEndpointResolver
from tests.clients.both_ways import BothWays, OpenClients
from tests.support.drivers import DriverKind, run_to_end
from tests.support.frames import chain_of, everything_in
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve

SECRETS = ("the-client-secret", "the-access-token", "the-refresh-token", "the-path-key", "the-password")
#: What Accounts gives.
GRANT = json.dumps({"accessToken": "the-access-token-0", "refreshToken": "the-refresh-token"}).encode()

Fail = Callable[[RawConnection], None]


def closing(connection: RawConnection, status: int, body: bytes, length: int) -> None:
    connection.reply(status, body, Content_Length=str(length))
    connection.close()


#: Ways in which a request fails whose answer, or whose error in the HTTP library, holds a secret.
FAILURES: dict[str, Fail] = {
    "reset": RawConnection.reset,
    "closed": RawConnection.close,
    "cut short": lambda connection: closing(connection, 200, GRANT[:-9], len(GRANT)),
    "no JSON": lambda connection: connection.reply(200, GRANT[:-9]),
    "no token": lambda connection: connection.reply(
        200, json.dumps({"refreshToken": "the-refresh-token", "clientSecret": "the-client-secret"}).encode()
    ),
    "no HTTP": lambda connection: closing_raw(connection, GRANT),
    "500": lambda connection: connection.reply(500, GRANT),
    "401": lambda connection: connection.reply(401, GRANT),
    "403": lambda connection: connection.reply(403, GRANT),
    "403 page": lambda connection: connection.reply(403, b"<p>the-client-secret the-access-token</p>"),
    "bad location": lambda connection: connection.reply(307, GRANT, Location="http://[the-access-token"),
}


def closing_raw(connection: RawConnection, raw: bytes) -> None:
    connection.write(raw)
    connection.close()


class Bloq:
    """Accounts and Nodes on one server: serves whatever is not told to fail."""

    def __init__(self) -> None:
        self.failing: dict[str, Fail] = {}
        self.grants = 0

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        what = json.loads(request.body)["grantType"] if request.target == "/auth/token" else request.target
        if what in self.failing:
            self.failing[what](connection)
        elif request.target == "/auth/token":
            self.grants += 1
            connection.reply(200, GRANT.replace(b"token-0", f"token-{self.grants}".encode()))
        elif request.target == "/auth":
            connection.reply(200, b'{"accessToken": "the-access-token-of-the-account"}')
        else:
            connection.reply(200, b"[]")


@pytest.fixture(params=FAILURES)
def fail(request: pytest.FixtureRequest) -> Fail:
    return FAILURES[request.param]


@pytest.fixture
def bloq() -> Bloq:
    return Bloq()


@pytest.fixture
def server(serve: Serve, bloq: Bloq) -> RawServer:
    return serve(bloq)


@pytest.fixture
def clients(open_clients: OpenClients, server: RawServer) -> BothWays:
    keys = ClientKeys("client-id", Secret("the-client-secret"))
    return open_clients(server.url, keys=keys, policy=NO_RETRIES)


def error_of(call: Callable[[], Any]) -> BloqError:
    with pytest.raises(BloqError) as failure:
        call()
    return failure.value


def assert_shows_nothing(error: BloqError) -> None:
    shown = everything_in(error, __file__)
    assert [secret for secret in SECRETS if secret in shown] == []
    # Not even what no one prints: the errors of requests, aiohttp and the decoder hold it all.
    assert {type(one).__module__.partition(".")[0] for one in chain_of(error)} == {"airflow_provider_bloq"}


def test_a_mint_that_fails(bloq: Bloq, clients: BothWays, fail: Fail) -> None:
    bloq.failing["clientCredentials"] = fail
    assert_shows_nothing(error_of(clients.nodes.list))


def test_a_refresh_that_fails(bloq: Bloq, clients: BothWays, fail: Fail) -> None:
    clients.nodes.list()
    token = clients.run(clients.provider.token()).secret
    bloq.failing = {"refreshToken": fail, "clientCredentials": fail}
    assert_shows_nothing(error_of(lambda: clients.run(clients.provider.replace_refused(token))))


@pytest.mark.parametrize("how", sorted(FAILURES.keys() - {"no token"}))
def test_a_call_that_fails(bloq: Bloq, clients: BothWays, how: str) -> None:
    bloq.failing["/users/me/nodes"] = FAILURES[how]
    assert_shows_nothing(error_of(clients.nodes.list))


def test_a_call_with_a_path_key_that_fails(
    bloq: Bloq, server: RawServer, clients: BothWays, fail: Fail
) -> None:
    class Keys:
        def load(self, chain: str) -> Secret:
            return Secret("the-path-key")

    bloq.failing["/v1/the-path-key"] = fail
    resolver: Any = ConnectEndpointResolver(server.url, "eth", Keys())
    assert_shows_nothing(error_of(lambda: clients.make_rpc(resolver).call("eth_chainId")))
    assert server.requests[-1].target == "/v1/the-path-key"


@pytest.mark.parametrize("operation", ["login", "create", "list"])
def test_a_call_of_the_account_that_fails(
    bloq: Bloq, server: RawServer, kind: DriverKind, fail: Fail, operation: str
) -> None:
    login = AccountLogin("me@example.com", Secret("the-password"), "a test")
    api = ClientKeysApi(url=server.url, login=login, policy=NO_RETRIES)
    bloq.failing["/auth" if operation == "login" else "/users/me/client-keys"] = fail
    flow = api.create if operation == "create" else api.list
    assert_shows_nothing(error_of(lambda: run_to_end(kind, flow)))


@pytest.mark.parametrize("change", [{"lifetime": -1}, {"access_token": "the-access-token with blanks"}, {}])
def test_a_secret_that_is_no_shared_token(change: dict[str, Any]) -> None:
    record = Record(1, {"access_token": "the-access-token", "password": "the-password", **change})
    with pytest.raises(BloqConfigurationError) as refusal:
        SharedToken.of(record, "a test")
    assert_shows_nothing(refusal.value)


def test_the_bundle_of_the_environment_that_is_missing(
    clients: BothWays, monkeypatch: pytest.MonkeyPatch, open_clients: OpenClients
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    keys = ClientKeys("client-id", Secret("the-client-secret"))
    error = error_of(open_clients("https://127.0.0.1:9", keys=keys, policy=NO_RETRIES).nodes.list)
    assert isinstance(error, BloqUnavailable)
    assert_shows_nothing(error)
