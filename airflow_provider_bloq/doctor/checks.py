"""Checks a connection stage by stage: settings, Vault, client keys, tokens, clock, services, and a node."""

from __future__ import annotations

import json
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
from airflow_provider_bloq.connection.reading import mask, read_settings
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.doctor.report import CheckOutcome, Finding, failure_of
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
from airflow_provider_bloq.hooks._account import Account, endpoint_resolver, network_of
from airflow_provider_bloq.hooks._telemetry import ServiceNames
from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
from airflow_provider_bloq.nodes.models import STARTED, STOPPED, Cluster, Node
from airflow_provider_bloq.rpc.certificates import NodeTlsMode
from airflow_provider_bloq.rpc.client import RpcApi
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.diagnosis import diagnose_login
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "check_connection",
    "check_stages",
]

#: Seconds for each request, whatever the connection says: a person waits for the result.
TIMEOUT = 10.0

_CONNECTION = "Connection"


def check_connection(conn_id: str) -> tuple[bool, str]:
    """Check a connection up to the first stage that fails.

    :param conn_id: Id of the connection.
    :return: Whether it works, and the findings as text. Contains no secret.
    """
    lines: list[str] = []
    good = True
    for finding in check_stages(conn_id):
        if finding.outcome is CheckOutcome.FAILED:
            good = False
            lines.append(f"{finding.stage}: FAILED. {finding.message}")
            break
        # A user who is editing the connection knows that it can be read.
        if finding.stage != _CONNECTION:
            lines.append(f"{finding.stage}: {finding.found}")
    where = f"host {socket.gethostname()}, process {os.getpid()}"
    lines.append(f"Checked on {where}; workers may see the network and Vault differently.")
    return good, "\n".join(lines)


def check_stages(
    conn_id: str,
    *,
    thorough: bool = False,
    node: str | None = None,
    begin: Callable[[str], None] = lambda stage: None,
    now: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Check a connection stage by stage, with a separate client that shares no token.

    A long-lived process, such as the API server, must not keep the token of a check: the next check would use
    it, or forked tasks would inherit it.

    :param conn_id: Id of the connection.
    :param thorough: Whether to check the login at Vault, the refresh of tokens, the clock, and a node as well.
    :param node: Id of the node or cluster whose JSON-RPC is called; None for any node.
    :param begin: Called with the name of each stage when it begins.
    :param now: The wall clock of this machine, in epoch seconds.
    :return: The finding of each stage as soon as it is known. Contains no secret.
    """
    begin(_CONNECTION)
    started = time.monotonic()
    settings, finding = _read(conn_id, started)
    yield finding
    if settings is None:
        return
    settings = replace(settings, timeout=min(settings.timeout, TIMEOUT))
    clocks = _ClockComparison(ServiceNames.of(settings).name, now)
    checks = _Checks(Account.of(settings, mask, NO_RETRIES), clocks, node)
    driver = SyncDriver(network_of(settings), mask=mask, observe=checks.observe)
    missing: set[str] = set()
    try:
        for stage in checks.stages(thorough=thorough):
            begin(stage.name)
            finding = _run(stage, driver, missing)
            if finding.outcome in (CheckOutcome.FAILED, CheckOutcome.SKIPPED):
                missing.add(stage.name)
            yield finding
    finally:
        driver.close()


def _read(conn_id: str, started: float) -> tuple[BloqSettings | None, Finding]:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        settings = read_settings(conn_id)
    except (BloqError, AirflowNotFoundException) as error:
        return None, failure_of(_CONNECTION, error, time.monotonic() - started)
    if settings.vault is not None:
        keys = "client keys from Vault"
    else:
        keys = "its own client keys" if settings.client_keys is not None else "no client keys, a shared token"
    found = f"{conn_id!r} can be read: environment {settings.environment}, {keys}."
    return settings, Finding(_CONNECTION, CheckOutcome.PASSED, found, seconds=time.monotonic() - started)


@dataclass(frozen=True)
class _Result:
    """The result of a stage that raised no error: what was found, how it ended, and what to do about it."""

    found: str
    outcome: CheckOutcome = CheckOutcome.PASSED
    remedy: str = ""


@dataclass(frozen=True)
class _Stage:
    """One stage of the check.

    :param name: Its name.
    :param check: Makes the flow of the check.
    :param unreachable: Remedy if the service could not be reached.
    :param needs: The stages that must succeed before it is tried.
    """

    name: str
    check: Callable[[], Flow[_Result]]
    unreachable: str = ""
    needs: tuple[str, ...] = ()


def _run(stage: _Stage, driver: SyncDriver, missing: set[str]) -> Finding:
    needed = next((name for name in stage.needs if name in missing), None)
    if needed is not None:
        return Finding(stage.name, CheckOutcome.SKIPPED, f"not tried: it needs {needed}.")
    started = time.monotonic()
    try:
        result = driver.run(stage.check())
    except BloqError as error:
        return failure_of(stage.name, error, time.monotonic() - started, stage.unreachable)
    message = f"{result.found} {result.remedy}".rstrip()
    seconds = time.monotonic() - started
    return Finding(stage.name, result.outcome, result.found, result.remedy, seconds, message)


class _Checks:
    """The stages of one check, and what later stages need from earlier ones.

    :param account: The connection.
    :param clocks: Compares the clocks.
    :param node: Id of the node or cluster whose JSON-RPC is called; None for any node.
    """

    def __init__(self, account: Account, clocks: _ClockComparison, node: str | None) -> None:
        self._account = account
        self._clocks = clocks
        self._node_id = node
        self._minter = account.client_keys_provider() if account.source is not None else None
        self._provider: TokenProvider | None = self._minter
        self._nodes: Iterable[Node] = ()
        self._events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Record an event of the driver that runs the stages."""
        self._events.append(event)
        self._clocks.observe(event)

    def stages(self, *, thorough: bool) -> Iterator[_Stage]:
        """Yield the stages in their order.

        :param thorough: Whether to include those that only ``airflow bloq doctor`` runs.
        """
        account = self._account
        accounts_remedy = "Is the host (Accounts) right, and may this machine reach it?"
        token = "Access token" if self._minter is not None else "Shared token"
        needed: tuple[str, ...] = ()
        if thorough and account.vault is not None:
            yield _Stage("Vault", self._vault)
            needed = ("Vault",)
        if self._minter is not None:
            yield _Stage("Client keys", self._client_keys, needs=needed)
            yield _Stage(token, self._access_token, accounts_remedy, needs=("Client keys",))
            if thorough:
                yield _Stage("Refresh", self._refresh, accounts_remedy, needs=(token,))
        if account.store is not None:
            yield _Stage("Shared token", self._shared_token, needs=needed)
        if thorough:
            yield _Stage("Clock", self._clock)
        nodes_remedy = "Is nodes_url right, and may this machine reach it?"
        yield _Stage("Nodes", self._list_nodes, nodes_remedy, needs=(token,))
        yield _Stage("Connect", self._connect)
        if thorough:
            yield _Stage(
                "Node", self._node, "Is the node up, and may this machine reach it?", needs=("Nodes",)
            )

    def _vault(self) -> Flow[_Result]:
        vault = self._account.vault
        if vault is None:
            raise RuntimeError("the connection does not use Vault")
        health = yield from run_blocking(lambda: _vault_health(vault))
        self._clocks.note("Vault", health.date)
        version = f", version {health.version}" if health.version else ""
        return _Result(f"logged in at {health.url} by {health.auth_type}{version}.")

    def _client_keys(self) -> Flow[_Result]:
        reading = yield from self._required_minter.read_keys()
        version = f", version {reading.version}" if reading.version is not None else ""
        source = self._account.source
        return _Result(f"found in {source.description if source is not None else 'nothing'}{version}.")

    def _access_token(self) -> Flow[_Result]:
        yield from self._required_minter.token()
        expires_in = duration(self._required_minter.expires_in or 0.0)
        return _Result(f"minted at {self._account.settings.accounts_url}, expires in {expires_in}.")

    def _refresh(self) -> Flow[_Result]:
        yield from self._required_minter.renew(retry=False)
        if any(event.name == "token.refreshed" for event in self._events):
            return _Result("the refresh token gives a new access token.")
        refused = any(event.name == "token.refresh_refused" for event in self._events)
        why = "Accounts rejects its own refresh token" if refused else "Accounts issues no refresh token"
        return _Result(
            f"{why}; access tokens are minted from the client keys each time.", CheckOutcome.WARNED
        )

    def _shared_token(self) -> Flow[_Result]:
        """Read the shared token without waiting for anybody to renew it."""
        reader = self._account.shared_provider(None, max_wait=0.0)
        try:
            yield from reader.token()
        except BloqSharedTokenStale as stale:
            if self._minter is None:
                raise
            return _Result(f"none at {stale.path} at present; the next task that needs it renews it for all.")
        if self._provider is None:
            self._provider = reader
        return _Result(f"found, expires in {duration(reader.expires_in or 0.0)}.")

    def _clock(self) -> Flow[_Result]:
        if not self._clocks.knows("Accounts"):
            try:
                # Any answer has a Date header.
                yield from send(Request("GET", self._account.settings.accounts_url))
            except BloqUnavailable as failure:
                if not self._clocks.knows("Vault"):
                    return _Result(f"not compared: {failure}", CheckOutcome.SKIPPED)
        return self._clocks.result()

    def _list_nodes(self) -> Flow[_Result]:
        settings = self._account.settings
        api = NodesApi(url=settings.nodes_url, bearer=self._bearer, policy=self._account.policy)
        self._nodes = yield from NodesApi.list.flow(api)
        running = sum(node.state != STOPPED for node in self._nodes)
        return _Result(f"{settings.nodes_url} accepts the token; {running} node(s) running.")

    def _connect(self) -> Flow[_Result]:
        """Call Connect, which is optional: it is no longer in Bloq's documentation."""
        url = self._account.settings.connect_url.replace("{chain}", REST_CHAINS[0])
        try:
            response = yield from send(Request("GET", f"{url}/status"))
        except BloqUnavailable:
            return _Result(f"{url} is not reachable. That is fine if you do not use it.")
        return _Result(f"{url} answers ({response.status}).")

    def _node(self) -> Flow[_Result]:
        return _check_node(self._account, self._bearer, self._nodes, self._node_id)

    @property
    def _required_minter(self) -> ClientKeysTokenProvider:
        if self._minter is None:
            raise RuntimeError("the connection has no client keys")
        return self._minter

    @property
    def _bearer(self) -> BearerAuth:
        if self._provider is None:
            raise RuntimeError("no stage got a token")
        return self._account.bearer(self._provider)


#: How far apart two clocks may be, in seconds; about the tolerance of logins by JWT.
TOLERANCE = 60.0


class _ClockComparison:
    """Compares this machine's clock with the ``Date`` headers of the services.

    :param name_of: Returns the service of a URL.
    :param now: The wall clock, in epoch seconds.
    """

    def __init__(self, name_of: Callable[[str], str], now: Callable[[], float]) -> None:
        self._name_of = name_of
        self._now = now
        self._ahead: dict[str, float] = {}

    def observe(self, event: Event) -> None:
        """Record the date of an answer."""
        if event.fields.get("date") is not None:
            # A Date header has whole seconds, and the answer took time: exact to a few seconds.
            self._ahead[self._name_of(event.fields["url"]).capitalize()] = self._now() - event.fields["date"]

    def note(self, service: str, date: str | None) -> None:
        """Record the ``Date`` header of a service, if it sent one."""
        served_at = http_date(date or "")
        if served_at is not None:
            self._ahead[service] = self._now() - served_at

    def knows(self, service: str) -> bool:
        """Whether there is a date of the service."""
        return service in self._ahead

    def result(self) -> _Result:
        """Return whether this machine's clock is right."""
        if not self._ahead:
            return _Result("No service sent a date.", CheckOutcome.SKIPPED)
        wrong = {name: ahead for name, ahead in self._ahead.items() if abs(ahead) > TOLERANCE}
        if not wrong:
            return _Result(f"right, by the clock of {' and '.join(self._ahead)}.")
        differences = " and ".join(
            f"{duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of {name}"
            for name, ahead in wrong.items()
        )
        return _Result(
            f"The clock of this machine is {differences}.",
            CheckOutcome.FAILED,
            "Set it and synchronise it (NTP; a container uses the clock of its host). Access tokens are not "
            "affected, but logins by JWT, certificates, schedules and logs are.",
        )


@dataclass(frozen=True)
class _VaultHealth:
    """The state of a Vault after a login.

    :param url: Its URL.
    :param auth_type: The login method, as ``VaultHook`` names it.
    :param version: Version of the server, if it says.
    :param date: Its ``Date`` header, if it sends one.
    """

    url: str
    auth_type: str
    version: str | None = None
    date: str | None = None


def _vault_health(vault: VaultClient) -> _VaultHealth:
    """Log in and read the state of Vault. Blocks.

    :raises BloqConfigurationError: The Vault connection is wrong, or Vault rejects its login.
    :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
    """
    where = f"Vault connection {vault.vault_conn_id!r}"
    return vault.call(
        _read_health, lambda error, client, vault_settings: diagnose_login(error, vault_settings, where)
    )


def _read_health(client: Any, vault_settings: VaultSettings) -> _VaultHealth:
    from hvac.adapters import RawAdapter
    from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

    # The client's own adapter drops the headers.
    raw = RawAdapter.from_adapter(client.adapter)
    try:
        # A standby, which forwards requests, counts as healthy.
        answer = raw.get("/v1/sys/health?standbyok=true&perfstandbyok=true")
    except (Forbidden, InvalidPath, InvalidRequest):
        # A namespace may not have this path. The login succeeded, so Vault is healthy.
        return _VaultHealth(vault_settings.url, vault_settings.auth_type)
    try:
        body = answer.json()
    except ValueError:
        body = None
    version = body.get("version") if isinstance(body, Mapping) else None
    return _VaultHealth(
        vault_settings.url,
        vault_settings.auth_type,
        version if isinstance(version, str) else None,
        answer.headers.get("Date"),
    )


def _check_node(
    account: Account, bearer: BearerAuth, listed: Iterable[Node], node_id: str | None
) -> Flow[_Result]:
    """Call the JSON-RPC of a node or cluster.

    :param node_id: Its id; None for one of the listed nodes, preferably one whose certificate is pinned.
    """
    service: dict[str, Any] = {"url": account.settings.nodes_url, "bearer": bearer, "policy": account.policy}
    nodes, clusters = NodesApi(**service), ClustersApi(**service)
    deployment: Node | Cluster | None
    if node_id is None:
        deployment = _preferred(account.settings, listed)
    elif node_id.startswith("cluster-"):
        deployment = yield from ClustersApi.get.flow(clusters, node_id)
    else:
        deployment = yield from NodesApi.get.flow(nodes, node_id)
    if deployment is None:
        return _Result("No node has started.", CheckOutcome.SKIPPED)
    resolver = endpoint_resolver(deployment, account, nodes=nodes, clusters=clusters, bearer=bearer)
    rpc = RpcApi(resolver=resolver, bearer=bearer, policy=account.policy)
    try:
        answer = yield from _answer(rpc, deployment)
    except BloqCertificateError as error:
        if error.fingerprint is None or deployment.id in account.settings.node_fingerprints:
            raise
        extra = json.dumps({"node_fingerprints": {deployment.id: [error.fingerprint]}})
        return _Result(
            f"{deployment.id} shows a certificate with the SHA-256 fingerprint {error.fingerprint}, which the "
            "connection does not know. Tasks can call the node if they are given the fingerprint.",
            CheckOutcome.WARNED,
            f"Once you know that the fingerprint is right, put {extra} into the extra of the connection.",
        )
    certificate = _certificate(deployment, account.settings)
    return _Result(f"{deployment.id} ({deployment.chain} {deployment.network}) {answer}; {certificate}.")


def _preferred(settings: BloqSettings, listed: Iterable[Node]) -> Node | None:
    started = [node for node in listed if node.state == STARTED]
    return min(started, key=lambda node: node.id not in settings.node_fingerprints, default=None)


#: Methods for chains whose nodes have no call for the head that is common to a family.
_METHODS = {"avalanche": "info.getNodeVersion"}


def _answer(rpc: RpcApi, deployment: Node | Cluster) -> Flow[str]:
    if deployment.chain in _METHODS:
        yield from RpcApi.call.flow(rpc, _METHODS[deployment.chain])
        return "answers"
    try:
        family = family_of(deployment.chain)
    except BloqConfigurationError:
        yield from rpc.resolver.resolve()
        return "exists; no method of its chain is known"
    head = yield from read_head(rpc, family)
    return f"answers, its head is block {head.height}"


def _certificate(deployment: Node | Cluster, settings: BloqSettings) -> str:
    if deployment.id in settings.node_fingerprints:
        return "its certificate is the pinned one"
    if isinstance(deployment, Cluster) or settings.node_tls is NodeTlsMode.VERIFY:
        return "its certificate is verified by a CA"
    return "its certificate is not checked"
