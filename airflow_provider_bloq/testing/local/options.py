"""The options of the local service.

Behaviour that Bloq does not document is an option, so that a client can be tested with each possibility.
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
    """A JSON-RPC server of a chain, for a node or cluster."""

    @property
    def url(self) -> str:
        """Base URL with plain HTTP; user and password in it are sent as HTTP Basic."""

    def start(self) -> object:
        """Start it and wait until it answers. Called outside the event loop."""

    def stop(self) -> object:
        """Stop it. Called outside the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBloqOptions:
    """Options of the local service. The defaults follow Bloq's documentation and clients.

    :param host: Loopback address to listen on; other addresses are not allowed.
    :param accounts_port: Port of Accounts; 0 for a free one.
    :param nodes_port: Port of Nodes; 0 for a free one.
    :param connect_port: Port of Connect; 0 for a free one.
    :param admin_port: Port of the admin API; 0 for a free one.
    :param gateway_port: Port that additionally serves ``/accounts/v1`` and ``/nodes/v1``; None for none.
    :param clock: Returns seconds since the epoch; all times follow it.
    :param account_token_seconds: Lifetime of an account access token.
    :param access_token_seconds: Lifetime of a client access token.
    :param refresh_token_seconds: Lifetime of a client refresh token.
    :param opaque_tokens: Whether tokens are random text instead of JWTs.
    :param omitted_claims: JWT claims to omit, such as ``iat`` or ``exp``.
    :param emit_expires_in: Whether ``/auth/token`` also returns ``expiresIn`` in seconds.
    :param rotate_refresh: Whether a refresh issues a new refresh token and revokes the old one.
    :param key_deletion_kills_access: Whether deleting client keys also revokes their access tokens.
    :param expired_status: Status for an expired token.
    :param expiry_body: Body for an expired token: ``jwt expired`` as ``plain`` text or as a ``json`` string, or a
        ``problem`` object.
    :param error_shape: Errors as ``problem``, ``{status, title, code, detail}``, or ``code``, ``{code, message}``.
    :param login_needs_verification: Whether an account must be verified before it can log in.
    :param verify_status: Success status of account verification.
    :param password_status: Success status of a password change.
    :param create_status: Success status of creating a node or a cluster.
    :param repeated_delete_status: Status for deleting a node or cluster that is already stopped.
    :param provision_seconds: Seconds that a new node stays in ``provisioning_state``.
    :param provisioning_state: Name of that state (invented: Bloq documents none).
    :param update_seconds: Duration of a cluster's service update; None until ``finish_updates``.
    :param node_quota: Nodes that a user may run at once; None for no limit.
    :param cluster_quota: The same for clusters.
    :param legacy_create: Whether the create body of 2019, ``{image, large, jwt}``, is also accepted.
    :param services_need_token: Whether the lists of services require a token.
    :param logs_shape: Logs as a list of ``lines``, or as ``text``, ``{"data": "<text>"}``; ``by-client`` sends the
        text to the official client, which reads only that, and lines to all others.
    :param node_address: With ``own-ip`` each node has a separate loopback address and the standard port of the
        chain; with ``port-in-ip`` the fields ``ip`` and ``domain`` are ``127.0.0.1:<free port>``, for systems
        whose only loopback address is 127.0.0.1.
    :param sidecar: Whether nodes also serve ``/status`` and ``/logs`` on port 8080.
    :param upstreams: By chain, a factory for the chain behind a node. The RPC of nodes of other chains answers
        503; clusters of avalanche and algorand still report their version. With None, nodes of eth, etc and
        polygon run on anvil, and nodes of btc and bch on the chain of Connect (mainnet) or on a separate one
        that starts at their first call (testnet). ``{"eth": Anvil, "btc": Bitcoind}`` gives each Bitcoin node a
        separate chain.
    :param connect_upstreams: By chain, a factory for the chain behind Connect, started at its first use; other
        chains answer 503. With None, btc and bch each have a Bitcoin node, and eth, etc, kotti and ropsten
        have anvil.
    :param connect_unknown_key_status: Status of Connect's JSON-RPC for a path key that is not valid for it.
    :param connect_refusal: How Connect reports that the node rejects a transaction: as plain ``text`` like
        Insight, as a ``json`` string, or as a ``problem`` object.
    :param connect_stream_refusal: How the stream rejects a token: with an error ``packet`` on a connection that
        is then closed, or with the HTTP ``status`` of the REST API.
    :param connect_address_event: Content of the stream's event for an address: the ``txid``, or an ``object`` with
        address and txid.
    :param connect_idle_seconds: Seconds that a connection of the stream may stay without a subscription.
    :param connect_ping_seconds: Seconds between the pings of a client of the stream.
    :param connect_ping_timeout_seconds: Seconds that a ping may be late before the connection is closed.
    :raises LocalBloqConfigurationError: Options are invalid; names each.
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
        yield "provisioning_state must not be empty, 'started' or 'stopped'"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
