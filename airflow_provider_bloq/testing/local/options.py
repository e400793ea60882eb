"""All switches of the local service in one value.

Where Bloq's documentation is silent the service must choose; each such choice is a field here, so
that a client can be shown the other possibility as well.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from airflow_provider_bloq.testing.local.errors import LocalBloqConfigurationError

__all__ = [
    "LocalBloqOptions",
    "Upstream",
]


class Upstream(Protocol):
    """A chain's JSON-RPC server, to stand behind one node or cluster."""

    @property
    def url(self) -> str:
        """Base URL, plain HTTP; user and password in it are sent as HTTP Basic."""

    def start(self) -> object:
        """Start it and return when it answers. Called outside the event loop."""

    def stop(self) -> object:
        """Stop it. Called outside the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBloqOptions:
    """How the local service behaves. The defaults are what Bloq's documents and clients show.

    :param host: Loopback address to listen on; any other is refused.
    :param accounts_port: Port of Accounts; 0 takes a free one.
    :param nodes_port: Port of Nodes; 0 takes a free one.
    :param connect_port: Port of Connect; 0 takes a free one.
    :param admin_port: Port of the admin API; 0 takes a free one.
    :param gateway_port: Port that also serves ``/accounts/v1`` and ``/nodes/v1``; None for none.
    :param clock: Seconds since the epoch; everything that has a time goes by it.
    :param account_token_seconds: Lifetime of an account access token.
    :param access_token_seconds: Lifetime of a client access token.
    :param refresh_token_seconds: Lifetime of a client refresh token.
    :param opaque_tokens: Whether tokens are random text that no client can decode, instead of JWTs.
    :param omitted_claims: JWT claims to leave out, such as ``iat`` or ``exp``.
    :param emit_expires_in: Whether ``/auth/token`` also tells ``expiresIn`` in seconds.
    :param rotate_refresh: Whether a refresh hands out a new refresh token and ends the old one.
    :param key_deletion_kills_access: Whether access tokens die with their client keys.
    :param expired_status: Answer to an expired token.
    :param expiry_body: ``plain`` text ``jwt expired``, a ``json`` string of it, or a ``problem`` object.
    :param error_shape: ``problem`` = ``{status, title, code, detail}``; ``code`` = ``{code, message}``.
    :param login_needs_verification: Whether an account must be verified before it can log in.
    :param verify_status: Success status of account verification.
    :param password_status: Success status of a password change.
    :param create_status: Success status of creating a node or a cluster.
    :param repeated_delete_status: Answer to the delete of what is stopped already.
    :param provision_seconds: How long a new node stays in ``provisioning_state``.
    :param provisioning_state: Name of that state (an invention: Bloq documents none).
    :param update_seconds: How long a cluster's service update runs; None until finished by hand.
    :param node_quota: Nodes that a user may run at once; None for no limit.
    :param cluster_quota: The same for clusters.
    :param legacy_create: Whether the body ``{image, large, jwt}`` of 2019 creates a node, too.
    :param services_need_token: Whether the lists of services ask for a token.
    :param logs_shape: ``lines`` answers logs as a list of lines, ``text`` as ``{"data": "<text>"}``;
        ``by-client`` gives the text to the official client, which can read nothing else, and lines to all
        others.
    :param node_address: ``own-ip`` gives each node a loopback address of its own and the chain's
        standard port; ``port-in-ip`` writes ``127.0.0.1:<free port>`` into ``ip`` and ``domain``,
        for systems that know no loopback address but 127.0.0.1.
    :param sidecar: Whether nodes also serve ``/status`` and ``/logs`` on port 8080.
    :param upstreams: Chain name to a maker of what runs behind a node of that chain. A node of any other chain
        exists, but its RPC answers 503; clusters of avalanche and algorand still tell their version. None puts
        anvil behind eth, etc and polygon, and behind btc and bch what runs behind Connect: mainnet nodes share
        its chain, those of a testnet have one of their own, started when they are first called. For a Bitcoin
        node of its own behind each there is ``{"eth": Anvil, "btc": Bitcoind}``.
    :param connect_upstreams: Chain name to a maker of what runs behind Connect, started when it is first
        asked for; a chain without one answers 503. None puts a Bitcoin node of its own behind btc and bch,
        and anvil behind eth, etc, kotti and ropsten.
    :param connect_unknown_key_status: Answer of Connect's JSON-RPC to a path key that does not open it.
    :param connect_refusal: How Connect tells that the node refuses a transaction: in plain ``text`` as Insight does,
        by a ``json`` string of it, or by a ``problem`` object.
    :param connect_stream_refusal: How the stream refuses a token: by an error ``packet`` on a connection that
        is then closed, or by the HTTP ``status`` that the REST API would answer.
    :param connect_address_event: What the stream's event of an address carries: the ``txid``, or an ``object``
        with address and txid.
    :param connect_idle_seconds: How long a connection of the stream may stay subscribed to nothing.
    :param connect_ping_seconds: How often clients of the stream are to ping.
    :param connect_ping_timeout_seconds: By how much a ping may be late before the connection is closed.
    :raises LocalBloqConfigurationError: Options are wrong; names each.
    """

    host: str = "127.0.0.1"
    accounts_port: int = 0
    nodes_port: int = 0
    connect_port: int = 0
    admin_port: int = 0
    gateway_port: int | None = None
    clock: Callable[[], float] = time.time
    account_token_seconds: int = 43_200
    access_token_seconds: int = 3_600
    refresh_token_seconds: int = 31_536_000
    opaque_tokens: bool = False
    omitted_claims: frozenset[str] = field(default=frozenset())
    emit_expires_in: bool = False
    rotate_refresh: bool = False
    key_deletion_kills_access: bool = False
    expired_status: Literal[401, 403] = 401
    expiry_body: Literal["plain", "json", "problem"] = "plain"
    error_shape: Literal["problem", "code"] = "problem"
    login_needs_verification: bool = False
    verify_status: Literal[200, 204] = 204
    password_status: Literal[200, 204] = 204
    create_status: Literal[200, 201] = 201
    repeated_delete_status: Literal[204, 404] = 404
    provision_seconds: float = 0.0
    provisioning_state: str = "starting"
    update_seconds: float | None = 30.0
    node_quota: int | None = 10
    cluster_quota: int | None = None
    legacy_create: bool = False
    services_need_token: bool = True
    logs_shape: Literal["by-client", "lines", "text"] = "by-client"
    node_address: Literal["own-ip", "port-in-ip"] = "own-ip"
    sidecar: bool = True
    upstreams: Mapping[str, Callable[[], Upstream]] | None = None
    connect_upstreams: Mapping[str, Callable[[], Upstream]] | None = None
    connect_unknown_key_status: Literal[401, 403] = 401
    connect_refusal: Literal["text", "json", "problem"] = "text"
    connect_stream_refusal: Literal["packet", "status"] = "packet"
    connect_address_event: Literal["txid", "object"] = "txid"
    connect_idle_seconds: float = 60.0
    connect_ping_seconds: float = 25.0
    connect_ping_timeout_seconds: float = 5.0

    def __post_init__(self) -> None:
        problems = tuple(_problems(self))
        if problems:
            raise LocalBloqConfigurationError(problems)


_CHOICES: Mapping[str, tuple[object, ...]] = {
    "expired_status": (401, 403),
    "expiry_body": ("plain", "json", "problem"),
    "error_shape": ("problem", "code"),
    "verify_status": (200, 204),
    "password_status": (200, 204),
    "create_status": (200, 201),
    "repeated_delete_status": (204, 404),
    "logs_shape": ("by-client", "lines", "text"),
    "node_address": ("own-ip", "port-in-ip"),
    "connect_unknown_key_status": (401, 403),
    "connect_refusal": ("text", "json", "problem"),
    "connect_stream_refusal": ("packet", "status"),
    "connect_address_event": ("txid", "object"),
}
_POSITIVE = (
    "account_token_seconds",
    "access_token_seconds",
    "refresh_token_seconds",
    "connect_idle_seconds",
    "connect_ping_seconds",
    "connect_ping_timeout_seconds",
)


def _problems(options: LocalBloqOptions) -> Iterator[str]:
    if not _is_loopback(options.host):
        yield f"host must be a loopback address such as 127.0.0.1, not {options.host!r}"
    for name in ("accounts_port", "nodes_port", "connect_port", "admin_port", "gateway_port"):
        port = getattr(options, name)
        if port is not None and not 0 <= port <= 65_535:
            yield f"{name} must be between 0 and 65535, not {port}"
    for name in _POSITIVE:
        if getattr(options, name) <= 0:
            yield f"{name} must be greater than 0"
    for name, choices in _CHOICES.items():
        if getattr(options, name) not in choices:
            yield f"{name} must be one of {', '.join(map(str, choices))}"
    if options.provision_seconds < 0:
        yield "provision_seconds must not be negative"
    if options.provisioning_state in ("", "started", "stopped"):
        yield "provisioning_state must be a name of its own, neither 'started' nor 'stopped'"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
