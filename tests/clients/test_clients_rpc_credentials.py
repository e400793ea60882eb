"""What a node is shown: the token, its own password, or nothing."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqAuthError,
    BloqNotFound,
    BloqTokenRejected,
    BloqUnsafeAddress,
)
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.testing.local.certificates import KeyedCertificate, self_signed, server_context
from tests.clients.both_ways import BothWays, OpenClients
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve
from tests.support.traces import arrived

TOKEN = "a-token-that-must-not-go-astray"


@pytest.fixture(scope="session")
def certificate() -> KeyedCertificate:
    return self_signed("127.0.0.1")


@dataclass
class Api:
    """Accounts and Nodes in one, which name whatever node a test wants."""

    fields: dict[str, Any] = field(default_factory=dict)
    reads: int = 0

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, json.dumps({"accessToken": TOKEN}).encode())
            return
        self.reads += 1
        node = {"id": "node-1", "chain": "eth", "network": "mainnet", "state": "started", **self.fields}
        connection.reply(200, json.dumps(node).encode())


@dataclass
class Guarded:
    """A node that lets one user in, and counts."""

    login: str = "u:new"

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        wanted = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and request.authorization != wanted:
            connection.reply(401, b"", WWW_Authenticate='Basic realm="node"')
        else:
            connection.reply(200, json.dumps({"id": json.loads(request.body)["id"], "result": "in"}).encode())


@dataclass
class Scene:
    """A scripted API, a scripted node behind TLS, and clients."""

    api: Api
    node: RawServer
    bloq: BothWays
    pin: str

    def name_node(self, at: RawServer | None = None, **fields: Any) -> None:
        """Have the API name the node, by default at its true address."""
        self.api.fields = {"ip": f"127.0.0.1:{(at or self.node).port}", **fields}

    def rpc(self, subject: Any = "node-1", **options: Any) -> Any:
        return self.bloq.rpc(subject, pin=self.pin, **options)


@pytest.fixture
def scene(serve: Serve, open_clients: OpenClients, certificate: KeyedCertificate) -> Scene:
    api = Api()
    node = serve(Guarded(), server_context(certificate))
    made = Scene(api, node, open_clients(serve(api).url), certificate.fingerprint)
    made.name_node()
    return made


def basic(password: str, user: str = "u") -> dict[str, str]:
    return {"type": "basic", "user": user, "pass": password}


def test_a_node_with_a_password_is_shown_that_and_never_the_token(scene: Scene) -> None:
    scene.name_node(auth=basic("new"))
    assert scene.rpc().call("eth_chainId") == "in"
    assert [seen.authorization for seen in scene.node.requests] == ["Basic dTpuZXc="]
    assert arrived(scene.node, TOKEN) == []


def test_a_password_that_was_changed_is_read_again_once(scene: Scene) -> None:
    scene.name_node(auth=basic("old"))
    rpc = scene.rpc()
    scene.node.script = Guarded("u:old")
    assert rpc.call("eth_chainId") == "in"
    assert scene.api.reads == 1
    scene.name_node(auth=basic("new"))
    scene.node.script = Guarded("u:new")
    assert rpc.call("eth_chainId") == "in"
    assert scene.api.reads == 2
    assert rpc.call("eth_chainId") == "in"
    assert scene.api.reads == 2
    assert len(scene.node.requests) == 4
    assert arrived(scene.node, TOKEN) == []


def test_a_password_that_is_refused_and_unchanged_is_an_error_after_one_look(scene: Scene) -> None:
    scene.name_node(auth=basic("wrong"))
    with pytest.raises(BloqAuthError, match="refuses the user and password"):
        scene.rpc().call("eth_chainId")
    assert scene.api.reads == 2
    assert len(scene.node.requests) == 1
    assert arrived(scene.node, TOKEN) == []


def test_a_changed_password_that_is_refused_too_is_an_error(scene: Scene) -> None:
    scene.name_node(auth=basic("wrong"))
    rpc = scene.rpc()
    scene.bloq.run(rpc.api.resolver.resolve())
    scene.name_node(auth=basic("wrong as well"))
    with pytest.raises(BloqAuthError) as error:
        rpc.call("eth_chainId")
    assert len(scene.node.requests) == 2
    assert "wrong" not in str(error.value)


def test_the_newer_password_goes_to_the_newer_address_only(
    scene: Scene, serve: Serve, certificate: KeyedCertificate
) -> None:
    scene.name_node(auth=basic("an-old-password"))
    moved = serve(Guarded("u:a-new-password"), server_context(certificate))
    rpc = scene.rpc()
    scene.bloq.run(rpc.api.resolver.resolve())
    scene.name_node(at=moved, auth=basic("a-new-password"))
    assert rpc.call("eth_chainId") == "in"
    assert arrived(scene.node, "an-old-password", "a-new-password") == ["an-old-password"]
    assert arrived(moved, "an-old-password", "a-new-password") == ["a-new-password"]


@pytest.mark.parametrize(
    "auth", [{"type": "none"}, {"type": "oauth9"}, None, "basic", {"user": "u", "pass": "new"}], ids=str
)
def test_where_the_api_names_no_way_that_is_known_nothing_is_shown(scene: Scene, auth: Any) -> None:
    scene.name_node(auth=auth)
    with pytest.raises(BloqApiError, match="answered 401"):
        scene.rpc().call("eth_chainId")
    assert [seen.authorization for seen in scene.node.requests] == [None]
    assert arrived(scene.node, TOKEN) == []


def test_a_node_that_knows_its_callers_by_the_token_is_shown_it(scene: Scene) -> None:
    scene.name_node(auth={"type": "jwt"})
    scene.node.script = Guarded("")
    assert scene.rpc().call("eth_chainId") == "in"
    assert [seen.authorization for seen in scene.node.requests] == [f"Bearer {TOKEN}"]


def test_a_node_that_refuses_the_only_token_that_accounts_gives_is_told_as_such(scene: Scene) -> None:
    scene.name_node(auth={"type": "jwt"})
    with pytest.raises(BloqTokenRejected):
        scene.rpc().call("eth_chainId")
    assert len(scene.node.requests) == 1


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "2852039166",
        "metadata",
    ],
)
@pytest.mark.parametrize("auth_type", ["jwt", "basic"])
def test_a_node_at_a_metadata_service_is_not_called_and_not_trusted(
    scene: Scene, address: str, auth_type: str
) -> None:
    scene.api.fields = {"ip": address, "auth": {"type": auth_type, "user": "u", "pass": "p"}}
    with pytest.raises(BloqUnsafeAddress):
        scene.rpc().call("eth_chainId")
    with pytest.raises(BloqUnsafeAddress):
        scene.rpc(port=scene.node.port).call("eth_chainId")
    assert not scene.bloq.origins.covers(f"https://{address}:8545/")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:{port}", "::ffff:127.0.0.1", "localhost", "2130706433"]
)
def test_a_node_on_this_machine_is_not_called_outside_the_local_environment(
    scene: Scene, address: str
) -> None:
    scene.api.fields = {"ip": address.format(port=scene.node.port), "auth": {"type": "jwt"}}
    with pytest.raises(BloqUnsafeAddress):
        scene.rpc(local=False, port=scene.node.port).call("eth_chainId")
    assert scene.node.connections == 0


def test_a_deleted_node_is_not_called(scene: Scene) -> None:
    scene.name_node(state="stopped", auth={"type": "jwt"})
    with pytest.raises(BloqNotFound, match="was deleted"):
        scene.rpc().call("eth_chainId")
    assert scene.node.connections == 0


def test_a_url_gets_no_token(scene: Scene) -> None:
    scene.node.script = Guarded("")
    assert scene.rpc(scene.node.url).call("eth_chainId") == "in"
    scene.node.script = Guarded()
    with pytest.raises(BloqApiError, match="answered 401"):
        scene.rpc(f"{scene.node.url}/auth/token").call("eth_chainId")
    assert [seen.authorization for seen in scene.node.requests] == [None, None]
    assert arrived(scene.node, TOKEN, "client-secret") == []


def test_a_url_of_a_node_that_was_met_by_its_id_gets_the_token(scene: Scene) -> None:
    scene.name_node(auth={"type": "jwt"})
    scene.node.script = Guarded("")
    scene.rpc().call("eth_chainId")
    scene.rpc(scene.node.url).call("eth_chainId")
    assert {seen.authorization for seen in scene.node.requests} == {f"Bearer {TOKEN}"}


def test_a_url_that_the_connection_trusts_gets_the_token(scene: Scene) -> None:
    scene.bloq.origins.add(Origin.of(scene.node.url))
    scene.node.script = Guarded("")
    scene.rpc(f"{scene.node.url}/path").call("eth_chainId")
    assert {seen.authorization for seen in scene.node.requests} == {f"Bearer {TOKEN}"}


def test_an_id_is_looked_up_once_and_a_node_in_hand_not_at_all(scene: Scene) -> None:
    scene.name_node(auth=basic("new"))
    rpc = scene.rpc()
    for _ in range(3):
        rpc.call("eth_chainId")
    assert scene.api.reads == 1
    scene.rpc(scene.bloq.nodes.get("node-1")).call("eth_chainId")
    assert scene.api.reads == 2


def test_bitcoin_like_nodes_are_called_by_their_version(scene: Scene) -> None:
    for chain, version in (("btc", "1.0"), ("eth", "2.0")):
        scene.name_node(auth=basic("new"), chain=chain)
        scene.rpc().call("getblockcount")
        assert json.loads(scene.node.requests[-1].body)["jsonrpc"] == version


@pytest.mark.anvil
def test_an_expired_token_is_renewed_at_a_real_node(chains: LocalBloq, bloq_with_chains: BothWays) -> None:
    node = bloq_with_chains.nodes.create(chains.service_id("eth"))
    rpc = bloq_with_chains.rpc(node, pin=chains.node_fingerprint(node.id))
    assert rpc.call("eth_chainId") == "0x7a69"
    chains.revoke_access_tokens()
    assert rpc.call("eth_chainId") == "0x7a69"
    counts = chains.counters()
    assert (counts.mints, counts.refreshes, counts.unauthorized) == (1, 1, {"rpc": 1})


@pytest.mark.anvil
def test_a_real_node_with_a_password_never_sees_the_token(
    chains: LocalBloq, bloq_with_chains: BothWays
) -> None:
    node = bloq_with_chains.nodes.create(chains.service_id("eth"), "basic")
    rpc = bloq_with_chains.rpc(node.id, pin=chains.node_fingerprint(node.id))
    assert rpc.call("eth_chainId") == "0x7a69"
    token = bloq_with_chains.run(bloq_with_chains.provider.token()).secret.reveal()
    assert chains.where_seen(token) == {"nodes"}
