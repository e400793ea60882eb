"""Compares the clock of this machine with those of the services, by the ``Date`` of their answers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider, TokenProvider
from airflow_provider_bloq.chains.blocks import read_head
from airflow_provider_bloq.chains.queries import family_of
from airflow_provider_bloq.connect.client import REST_CHAINS
from airflow_provider_bloq.connection.masking import mask
from airflow_provider_bloq.connection.reading import read_settings
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.doctor.report import CheckOutcome, Finding, Found, Stage, failed, pinning
from airflow_provider_bloq.exceptions import (
    BloqCertificateError,
    BloqConfigurationError,
    BloqError,
    BloqSharedTokenStale,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow, Request, run_blocking, send
from airflow_provider_bloq.flow.events import Event, duration
from airflow_provider_bloq.flow.retry import NO_RETRIES, http_date
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.hooks._account import Account, locator_for, network_of
from airflow_provider_bloq.hooks._telemetry import ServiceNames
from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
from airflow_provider_bloq.nodes.models import STARTED, STOPPED, Cluster, Node
from airflow_provider_bloq.rpc.certificates import NodeTlsMode
from airflow_provider_bloq.rpc.client import RpcApi
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.diagnosis import diagnose_login
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "ClockComparison",
    "Examination",
    "VaultHealth",
    "check_connection",
    "examine",
    "health_of",
    "look_at_node",
]


#: How far apart two clocks may be, in seconds. What checks times, such as a login by JWT, bears about as much.
TOLERANCE = 60.0


class ClockComparison:
    """By how much this machine's clock is ahead of those of the services that have answered so far.

    :param name_of: Names the service of a URL.
    :param now: The wall clock, in epoch seconds.
    """

    def __init__(self, name_of: Callable[[str], str], now: Callable[[], float] = time.time) -> None:
        self._name_of = name_of
        self._now = now
        self._ahead: dict[str, float] = {}

    def observe(self, event: Event) -> None:
        """Take note of the time that an answer tells; an observer."""
        if event.fields.get("date") is not None:
            # A Date has no fractions, and the answer took its time: good for a few seconds.
            self._ahead[self._name_of(event.fields["url"]).capitalize()] = self._now() - event.fields["date"]

    def note(self, service: str, date: str | None) -> None:
        """Take note of the time that a service has told.

        :param service: Its name.
        :param date: Its ``Date`` header; None where it sent none.
        """
        served = http_date(date or "")
        if served is not None:
            self._ahead[service] = self._now() - served

    def knows(self, service: str) -> bool:
        """Whether a service has told its time."""
        return service in self._ahead

    def compared(self) -> Found:
        """Tell whether this machine's clock is right."""
        if not self._ahead:
            return Found("No service has told the time.", CheckOutcome.SKIPPED)
        wrong = {name: ahead for name, ahead in self._ahead.items() if abs(ahead) > TOLERANCE}
        if not wrong:
            return Found(f"right, by the clock of {' and '.join(self._ahead)}.")
        differences = " and ".join(
            f"{duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of {name}"
            for name, ahead in wrong.items()
        )
        return Found(
            f"The clock of this machine is {differences}.",
            CheckOutcome.FAILED,
            "Set it, and have it kept right (NTP; in a container that is the host's clock). Access tokens do not "
            "suffer, but logins by JWT, certificates, schedules and logs do.",
        )


#: A standby hands requests on; that it is one is no matter here.
_HEALTH = "/v1/sys/health?standbyok=true&perfstandbyok=true"


@dataclass(frozen=True, slots=True)
class VaultHealth:
    """What is known of a Vault after a login.

    :param url: Its address.
    :param auth_type: How the login was made, in ``VaultHook``'s words.
    :param version: Version of the server; None where it does not tell.
    :param date: Its ``Date`` header; None where it sends none.
    """

    url: str
    auth_type: str
    version: str | None = None
    date: str | None = None


def health_of(access: VaultClient) -> VaultHealth:
    """Log in and look. Blocks.

    :param access: The Vault connection in use.
    :raises BloqConfigurationError: The Vault connection is wrong, or its login is refused.
    :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
    """
    where = f"Vault connection {access.vault_conn_id!r}"
    return access.call(_look, lambda error, client, endpoint: diagnose_login(error, endpoint, where))


def _look(client: Any, endpoint: VaultSettings) -> VaultHealth:
    from hvac.adapters import RawAdapter
    from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

    # The client's own adapter drops the headers.
    raw = RawAdapter.from_adapter(client.adapter)
    try:
        answer = raw.get(_HEALTH)
    except (Forbidden, InvalidPath, InvalidRequest):
        # In a namespace there may be no such page. The login has told that Vault is well.
        return VaultHealth(endpoint.url, endpoint.auth_type)
    try:
        body = answer.json()
    except ValueError:
        body = None
    version = body.get("version") if isinstance(body, Mapping) else None
    return VaultHealth(
        endpoint.url,
        endpoint.auth_type,
        version if isinstance(version, str) else None,
        answer.headers.get("Date"),
    )


#: What a chain's nodes are asked whose head is read by no call that all families have.
_ASKED = {"avalanche": "info.getNodeVersion"}


def look_at_node(
    account: Account, bearer: BearerAuth, listed: Iterable[Node], wanted: str | None
) -> Flow[Found]:
    """Call a node's JSON-RPC.

    :param account: The connection.
    :param bearer: Signs requests.
    :param listed: The account's nodes.
    :param wanted: Id of a node or cluster; None for one of the nodes, if possible one whose certificate is pinned.
    :raises BloqError: It does not answer as it should.
    """
    service: dict[str, Any] = {"url": account.settings.nodes_url, "bearer": bearer, "policy": account.policy}
    nodes, clusters = NodesApi(**service), ClustersApi(**service)
    machine: Node | Cluster | None
    if wanted is None:
        machine = _choice(account.settings, listed)
    elif wanted.startswith("cluster-"):
        machine = yield from ClustersApi.get.flow(clusters, wanted)
    else:
        machine = yield from NodesApi.get.flow(nodes, wanted)
    if machine is None:
        return Found("No node has started.", CheckOutcome.SKIPPED)
    resolver = locator_for(machine, account, nodes=nodes, clusters=clusters, bearer=bearer)
    rpc = RpcApi(resolver=resolver, bearer=bearer, policy=account.policy)
    try:
        answer = yield from _answer(rpc, machine)
    except BloqCertificateError as error:
        if error.fingerprint is None or machine.id in account.settings.node_fingerprints:
            raise
        seen = (
            f"{machine.id} shows a certificate with the SHA-256 fingerprint {error.fingerprint}, which the connection "
            "does not know. Tasks can call the node if they are told the fingerprint."
        )
        return Found(seen, CheckOutcome.WARNED, pinning(machine.id, error.fingerprint))
    return Found(
        f"{machine.id} ({machine.chain} {machine.network}) {answer}; {_trusted(machine, account.settings)}."
    )


def _choice(settings: BloqSettings, listed: Iterable[Node]) -> Node | None:
    started = [node for node in listed if node.state == STARTED]
    return min(started, key=lambda node: node.id not in settings.node_fingerprints, default=None)


def _answer(rpc: RpcApi, machine: Node | Cluster) -> Flow[str]:
    if machine.chain in _ASKED:
        yield from RpcApi.call.flow(rpc, _ASKED[machine.chain])
        return "answers"
    try:
        family = family_of(machine.chain)
    except BloqConfigurationError:
        yield from rpc.resolver.resolve()
        return "is there; what its nodes can be asked is not known"
    head = yield from read_head(rpc, family)
    return f"answers, its head is block {head.height}"


def _trusted(machine: Node | Cluster, settings: BloqSettings) -> str:
    if machine.id in settings.node_fingerprints:
        return "its certificate is the pinned one"
    if isinstance(machine, Cluster) or settings.node_tls is NodeTlsMode.VERIFY:
        return "its certificate is verified by a CA"
    return "its certificate is not checked"


ACCOUNTS_REMEDY = "Is the host (Accounts) right, and may this machine reach it?"
NODES_REMEDY = "Is nodes_url right, and may this machine reach it?"


class Examination:
    """The check of one connection, with a token of its own, and what it has come to know so far.

    :param account: The connection, wired up.
    :param clocks: Compares clocks.
    :param node: Id of the node that a thorough check calls; None for any.
    """

    def __init__(self, account: Account, clocks: ClockComparison, node: str | None = None) -> None:
        self._account = account
        self._clocks = clocks
        self._wanted_node = node
        self._ladder: ClientKeysTokenProvider | None = (
            account.ladder() if account.source is not None else None
        )
        self._provider: TokenProvider | None = self._ladder
        self._nodes: list[Node] = []
        self._events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Take note of an event; for the driver that runs the stages."""
        self._events.append(event)
        self._clocks.observe(event)

    def stages(self, *, thorough: bool) -> Iterator[Stage]:
        """Give the stages in their order.

        :param thorough: Whether to look at what takes longer, and at what is no part of the connection, too.
        """
        account = self._account
        token = "Access token" if self._ladder is not None else "Shared token"
        needed: tuple[str, ...] = ()
        if thorough and account.vault is not None:
            yield Stage("Vault", self._vault)
            needed = ("Vault",)
        if self._ladder is not None:
            yield Stage("Client keys", self._client_keys, needs=needed)
            yield Stage(token, self._access_token, ACCOUNTS_REMEDY, needs=("Client keys",))
            if thorough:
                yield Stage("Refresh", self._refresh, ACCOUNTS_REMEDY, needs=(token,))
        if account.store is not None:
            yield Stage("Shared token", self._shared_token, needs=needed)
        if thorough:
            yield Stage("Clock", self._clock)
        yield Stage("Nodes", self._listed_nodes, NODES_REMEDY, needs=(token,))
        yield Stage("Connect", self._connect)
        if thorough:
            yield Stage(
                "Node", self._node, "Is the node up, and may this machine reach it?", needs=("Nodes",)
            )

    def _vault(self) -> Flow[Found]:

        access = self._account.vault
        if access is None:
            raise RuntimeError("there is no Vault to look at")
        standing = yield from run_blocking(lambda: health_of(access))
        self._clocks.note("Vault", standing.date)
        version = f", version {standing.version}" if standing.version else ""
        return Found(f"logged in at {standing.url} by {standing.auth_type}{version}.")

    def _client_keys(self) -> Flow[Found]:
        reading = yield from self._own_ladder.read_keys()
        version = f", version {reading.version}" if reading.version is not None else ""
        source = self._account.source
        return Found(f"found in {source.description if source is not None else 'nothing'}{version}.")

    def _access_token(self) -> Flow[Found]:
        yield from self._own_ladder.token()
        lives = duration(self._own_ladder.expires_in or 0.0)
        return Found(f"minted at {self._account.settings.accounts_url}, lives {lives}.")

    def _refresh(self) -> Flow[Found]:
        yield from self._own_ladder.renew(retry=False)
        if any(event.name == "token.refreshed" for event in self._events):
            return Found("the refresh token gives a new access token.")
        refused = any(event.name == "token.refresh_refused" for event in self._events)
        why = "Accounts refuses its own refresh token" if refused else "Accounts gives no refresh token"
        return Found(f"{why}; access tokens are minted from the client keys each time.", CheckOutcome.WARNED)

    def _shared_token(self) -> Flow[Found]:
        """Read the token that others share; nobody is waited for."""
        reader = self._account.shared(None, max_wait=0.0)
        try:
            yield from reader.token()
        except BloqSharedTokenStale as stale:
            if self._ladder is None:
                raise
            return Found(f"none at {stale.path} at present; the next task that needs one renews it for all.")
        if self._provider is None:
            self._provider = reader
        return Found(f"found where it is shared, lives {duration(reader.expires_in or 0.0)}.")

    def _clock(self) -> Flow[Found]:
        if not self._clocks.knows("Accounts"):
            try:
                # Whatever it answers, it tells the time.
                yield from send(Request("GET", self._account.settings.accounts_url))
            except BloqUnavailable as failure:
                if not self._clocks.knows("Vault"):
                    return Found(f"not compared: {failure}", CheckOutcome.SKIPPED)
        return self._clocks.compared()

    def _listed_nodes(self) -> Flow[Found]:
        settings = self._account.settings
        api = NodesApi(url=settings.nodes_url, bearer=self._bearer, policy=self._account.policy)
        self._nodes = yield from NodesApi.list.flow(api)
        running = sum(node.state != STOPPED for node in self._nodes)
        return Found(f"{settings.nodes_url} accepts the token; {running} node(s) running.")

    def _connect(self) -> Flow[Found]:
        """Connect has left Bloq's documentation, so that a connection may do without it."""
        url = self._account.settings.connect_url.replace("{chain}", REST_CHAINS[0])
        try:
            response = yield from send(Request("GET", f"{url}/status"))
        except BloqUnavailable:
            return Found(f"{url} is not reachable. That is all right if you do not use it.")
        return Found(f"{url} answers ({response.status}).")

    def _node(self) -> Flow[Found]:
        return look_at_node(self._account, self._bearer, self._nodes, self._wanted_node)

    @property
    def _own_ladder(self) -> ClientKeysTokenProvider:
        if self._ladder is None:
            raise RuntimeError("a connection without client keys has no ladder")
        return self._ladder

    @property
    def _bearer(self) -> BearerAuth:
        if self._provider is None:
            raise RuntimeError("no stage has brought a token")
        return self._account.bearer(self._provider)


#: A person waits for the result. Seconds for each request, whatever the connection says.
TIMEOUT = 10.0
#: The first stage: reading the connection comes before there is anything to drive flows.
_CONNECTION = "Connection"


def check_connection(conn_id: str) -> tuple[bool, str]:
    """Check a connection up to the first stage that fails.

    :param conn_id: Id of the connection.
    :return: Whether it works, and what each stage found or what ended it. Holds no secret.
    """
    lines: list[str] = []
    good = True
    for finding in examine(conn_id):
        if finding.outcome is CheckOutcome.FAILED:
            good = False
            lines.append(f"{finding.stage}: FAILED. {finding.told}")
            break
        # That the connection can be read is nothing to tell somebody who is just editing it.
        if finding.stage != _CONNECTION:
            lines.append(f"{finding.stage}: {finding.found}")
    where = f"host {socket.gethostname()}, process {os.getpid()}"
    lines.append(f"Checked on {where}; workers may see the network and Vault differently.")
    return good, "\n".join(lines)


def examine(
    conn_id: str,
    *,
    thorough: bool = False,
    node: str | None = None,
    begin: Callable[[str], None] = lambda stage: None,
    now: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Check a connection stage by stage, with a client of its own that shares nothing.

    A process that lives on, such as the API server, must not keep the token of a test: it would come
    back as the answer of the next test, or be handed to tasks that are forked from here.

    :param conn_id: Id of the connection.
    :param thorough: Whether to look at what takes longer, and at what is no part of the connection, too: the
        login at Vault, the refresh of tokens, the clock, a node's JSON-RPC and certificate.
    :param node: Id of the node or cluster whose JSON-RPC is called; None for any node.
    :param begin: Is told the name of each stage when it begins.
    :param now: The wall clock of this machine, in epoch seconds.
    :return: What each stage has found, as soon as it is known. There is no secret in it.
    """
    begin(_CONNECTION)
    started = time.monotonic()
    settings, finding = _read(conn_id, started)
    yield finding
    if settings is None:
        return
    settings = replace(settings, timeout=min(settings.timeout, TIMEOUT))
    clocks = ClockComparison(ServiceNames.of(settings).name, now)
    examination = Examination(Account.of(settings, mask, NO_RETRIES), clocks, node)
    driver = SyncDriver(network_of(settings), mask=mask, observe=examination.observe)
    lacking: set[str] = set()
    try:
        for stage in examination.stages(thorough=thorough):
            begin(stage.name)
            finding = _found(stage, driver, lacking)
            if finding.outcome in (CheckOutcome.FAILED, CheckOutcome.SKIPPED):
                lacking.add(stage.name)
            yield finding
    finally:
        driver.close()


def _read(conn_id: str, started: float) -> tuple[BloqSettings | None, Finding]:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        settings = read_settings(conn_id)
    except (BloqError, AirflowNotFoundException) as error:
        return None, failed(_CONNECTION, error, time.monotonic() - started)
    found = f"{conn_id!r} can be read: environment {settings.environment}, {_keys_of(settings)}."
    return settings, Finding(_CONNECTION, CheckOutcome.PASSED, found, seconds=time.monotonic() - started)


def _keys_of(settings: BloqSettings) -> str:
    if settings.vault is not None:
        return "client keys from Vault"
    return "client keys of its own" if settings.client_keys is not None else "no client keys, a shared token"


def _found(stage: Stage, driver: SyncDriver, lacking: set[str]) -> Finding:
    missing = next((name for name in stage.needs if name in lacking), None)
    if missing is not None:
        return Finding(stage.name, CheckOutcome.SKIPPED, f"not tried: it needs {missing}.")
    started = time.monotonic()
    try:
        found = driver.run(stage.look())
    except BloqError as error:
        return failed(stage.name, error, time.monotonic() - started, stage.remedy)
    seconds = time.monotonic() - started
    told = f"{found.text} {found.remedy}".rstrip()
    return Finding(stage.name, found.outcome, found.text, found.remedy, seconds, told)
