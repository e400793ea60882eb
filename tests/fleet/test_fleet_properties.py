"""Whatever happens in whatever order: a call fails only when no valid credential existed anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.exceptions import BloqError, BloqVaultUnavailable
from airflow_provider_bloq.flow.effects import Flow, Request, Response, send
from airflow_provider_bloq.flow.retry import RetryPolicy
from tests.support.scripted_bloq import ACCOUNTS, NODES, RotatingKeys, ScriptedBloq
from tests.support.shared_slots import FakeStore

#: What an outage of Accounts looks like.
OUTAGES = [
    Response(429),
    Response(429, {"retry-after": "7"}),
    Response(429, {"retry-after": "600"}),
    Response(500),
    Response(503),
]
#: What happens while a call is on its way, by the number of the time that it is sent.
MIDWAY = st.dictionaries(st.integers(0, 3), st.sampled_from(["revoke", "revoke all", "rotate"]), max_size=2)
SECONDS = st.floats(1, 4000)
#: Enough to have met every failure that was found on the way here, in seconds.
THOROUGH = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class SimulatedProcess:
    """A process of the fleet.

    :param supply: Gives its tokens.
    :param minter: Mints its tokens; None in a reader.
    :param behind: Seconds that its monotonic clock has missed, as that of a machine that slept.
    """

    bloq: ScriptedBloq
    behind: float = 0.0
    minter: ClientKeysTokenProvider | None = None
    supply: ClientKeysTokenProvider | SharedTokenProvider = field(init=False)

    def clock(self) -> float:
        return self.bloq.time - self.behind


class Fleet(RuleBasedStateMachine):
    """Two processes with client keys and, where a token is shared, one without."""

    shares = False

    @initialize()
    def begin(self) -> None:
        self.bloq = ScriptedBloq(time=1e5)
        self.source = RotatingKeys()
        self.vault_behind = 0.0
        self.store = FakeStore(lambda: self.bloq.time - self.vault_behind)
        roles = ["member", "member", "reader"] if self.shares else ["member", "member"]
        self.processes = [self._made(role) for role in roles]

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.bloq.time += seconds

    @rule(number=st.integers(0, 2), seconds=SECONDS)
    def a_machine_sleeps(self, number: int, seconds: float) -> None:
        self._process(number).behind += seconds
        self.bloq.time += seconds

    @precondition(lambda self: self.shares)
    @rule(seconds=SECONDS)
    def the_clock_of_vault_is_set_back(self, seconds: float) -> None:
        self.vault_behind += seconds

    @rule(number=st.integers(0, 2))
    def a_process_ends_and_another_begins(self, number: int) -> None:
        index = number % len(self.processes)
        self.processes[index] = self._made("member" if self.processes[index].minter else "reader")

    @rule()
    def access_tokens_are_revoked(self) -> None:
        self._happens("revoke")

    @rule()
    def refresh_tokens_are_revoked(self) -> None:
        self.bloq.good_refresh.clear()

    @rule(with_grace=st.booleans())
    def the_keys_are_rotated(self, with_grace: bool) -> None:
        old = set(self.bloq.good_ids)
        self._happens("rotate")
        if with_grace:
            self.bloq.good_ids |= old

    @rule()
    def the_keys_are_deleted(self) -> None:
        self.bloq.good_ids.clear()
        self.bloq.good_refresh.clear()

    @rule()
    def vault_goes_down(self) -> None:
        self.store.is_down = True
        self.source.failure = BloqVaultUnavailable("Vault is out of reach")

    @rule()
    def vault_comes_back(self) -> None:
        self.store.is_down = False
        self.source.failure = None

    @rule(outage=st.sampled_from(OUTAGES))
    def accounts_goes_down(self, outage: Response) -> None:
        self.bloq.accounts_fault = outage

    @rule()
    def accounts_comes_back(self) -> None:
        self.bloq.accounts_fault = None

    @rule(number=st.integers(0, 2), midway=MIDWAY)
    def a_call_is_made(self, number: int, midway: dict[int, str]) -> None:
        process = self._process(number)
        bearer = BearerAuth(process.supply, TrustedOrigins([Origin.of(NODES)]))
        sent = 0

        def once(request: Request) -> Flow[Response]:
            nonlocal sent
            self._happens(midway.get(sent, ""))
            sent += 1
            return (yield from send(request))

        try:
            response: Response = self.bloq.run(bearer.send(Request("POST", NODES, body=b"{}"), once))
        except BloqError as error:
            assert not self._credentials_of(process), f"{type(error).__name__}: {error}"
        else:
            assert response.status == 200

    def _happens(self, what: str) -> None:
        if what.startswith("revoke"):
            self.bloq.revoked |= set(self.bloq.masked)
        if what == "revoke all":
            self.bloq.good_refresh.clear()
        if what == "rotate":
            version = (self.source.reading.version or 0) + 1
            self.source.rotate(version)
            self.bloq.good_ids = {f"id-{version}"}
            self.bloq.good_refresh.clear()

    def _process(self, number: int) -> SimulatedProcess:
        return self.processes[number % len(self.processes)]

    def _made(self, role: str) -> SimulatedProcess:
        process = SimulatedProcess(self.bloq)
        if role == "member":
            endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
            process.minter = ClientKeysTokenProvider(endpoint, self.source, clock=process.clock)
        if self.shares:
            process.supply = SharedTokenProvider(
                self.store.shared, ACCOUNTS, minter=process.minter, max_wait=50.0, clock=process.clock
            )
        else:
            assert process.minter is not None
            process.supply = process.minter
        return process

    def _credentials_of(self, process: SimulatedProcess) -> list[str]:
        """Name what the process could have made the call with."""
        found = []
        if process.supply._token is not None and self._lives(process.supply._token.secret.reveal()):
            found.append("the access token that it holds")
        shared = self.store.token.fields if self.shares and not self.store.is_down else None
        if shared is not None and self._lives(shared["access_token"]):
            found.append("the shared access token")
        minter = process.minter
        if minter is None or self.bloq.accounts_fault is not None:
            return found
        refresh_token = minter._refresh_token
        if refresh_token is not None and refresh_token.reveal() in self.bloq.good_refresh:
            found.append("its refresh token")
        if minter.client_id in self.bloq.good_ids:
            found.append("the client keys that it has read")
        if self.source.failure is None and self.source.reading.keys.client_id in self.bloq.good_ids:
            found.append("the client keys in Vault")
        return found

    def _lives(self, token: str) -> bool:
        return token not in self.bloq.revoked and self.bloq.lives(token)


class SharingFleet(Fleet):
    """The same with a shared token."""

    shares = True


TestWithoutSharing = Fleet.TestCase
TestWithoutSharing.settings = THOROUGH
TestWithSharing = SharingFleet.TestCase
TestWithSharing.settings = THOROUGH
