"""The stages of a check: connection to Vault, keys, token, services and a node, each a flow that looks."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.auth.events import Event, told
from airflow_provider_bloq.auth.flow import Flow, Request, block, send
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.supply import TokenSupply
from airflow_provider_bloq.auth.token_events import RefreshRefused, TokenRefreshed
from airflow_provider_bloq.clients.connect_chains import REST_CHAINS
from airflow_provider_bloq.clients.models import STOPPED, Node
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.exceptions import BloqSharedTokenStale, BloqUnavailable
from airflow_provider_bloq.hooks.check_clock import Clocks
from airflow_provider_bloq.hooks.check_findings import Found, Outcome, Stage
from airflow_provider_bloq.hooks.check_node import look_at_node
from airflow_provider_bloq.hooks.wiring import Account

__all__ = ["Examination"]

ACCOUNTS_REMEDY = "Is the host (Accounts) right, and may this machine reach it?"
NODES_REMEDY = "Is nodes_url right, and may this machine reach it?"


class Examination:
    """The check of one connection, with a token of its own, and what it has come to know so far.

    :param account: The connection, wired up.
    :param clocks: Compares clocks.
    :param node: Id of the node that a thorough check calls; None for any.
    """

    def __init__(self, account: Account, clocks: Clocks, node: str | None = None) -> None:
        self._account = account
        self._clocks = clocks
        self._wanted_node = node
        self._ladder: TokenProvider | None = account.ladder() if account.source is not None else None
        self._provider: TokenSupply | None = self._ladder
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
        from airflow_provider_bloq.vault.standing import standing_of

        access = self._account.vault
        if access is None:
            raise RuntimeError("there is no Vault to look at")
        standing = yield from block(lambda: standing_of(access))
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
        lives = told(self._own_ladder.expires_in or 0.0)
        return Found(f"minted at {self._account.settings.accounts_url}, lives {lives}.")

    def _refresh(self) -> Flow[Found]:
        yield from self._own_ladder.renew(patient=False)
        if any(isinstance(event, TokenRefreshed) for event in self._events):
            return Found("the refresh token gives a new access token.")
        refused = any(isinstance(event, RefreshRefused) for event in self._events)
        why = "Accounts refuses its own refresh token" if refused else "Accounts gives no refresh token"
        return Found(f"{why}; access tokens are minted from the client keys each time.", Outcome.WARNED)

    def _shared_token(self) -> Flow[Found]:
        """Read the token that others share; nobody is waited for."""
        reader = self._account.shared(None, patience=0.0)
        try:
            yield from reader.token()
        except BloqSharedTokenStale as stale:
            if self._ladder is None:
                raise
            return Found(f"none at {stale.path} at present; the next task that needs one renews it for all.")
        if self._provider is None:
            self._provider = reader
        return Found(f"found where it is shared, lives {told(reader.expires_in or 0.0)}.")

    def _clock(self) -> Flow[Found]:
        if not self._clocks.knows("Accounts"):
            try:
                # Whatever it answers, it tells the time.
                yield from send(Request("GET", self._account.settings.accounts_url))
            except BloqUnavailable as failure:
                if not self._clocks.knows("Vault"):
                    return Found(f"not compared: {failure}", Outcome.SKIPPED)
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
    def _own_ladder(self) -> TokenProvider:
        if self._ladder is None:
            raise RuntimeError("a connection without client keys has no ladder")
        return self._ladder

    @property
    def _bearer(self) -> BearerAuth:
        if self._provider is None:
            raise RuntimeError("no stage has brought a token")
        return self._account.bearer(self._provider)
