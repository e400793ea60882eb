"""The token ladder with an injected clock and a scripted Accounts: what it costs, and when it gives up."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import threading
from typing import Any

import jwt
import pytest

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins, is_auth_refusal
from airflow_provider_bloq.auth.cache import ProviderCache, credential_key
from airflow_provider_bloq.auth.flight import Landing
from airflow_provider_bloq.auth.flow import (
    Flow,
    Follow,
    Lead,
    LoadKeys,
    Mask,
    Request,
    Response,
    Send,
    Sleep,
)
from airflow_provider_bloq.auth.keys import ClientKeys, KeyReading
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.token import lifetime_of
from airflow_provider_bloq.clients.accounts import AccountsTokenEndpoint
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.exceptions import (
    BloqClientKeysRejected,
    BloqError,
    BloqTokenRejected,
    BloqUnavailable,
)

ACCOUNTS = "https://accounts.example"
NODES = "https://nodes.example"
MINUTE = 60.0


class Source:
    """Client keys that can be rotated."""

    description = "a test's keys"
    identity = ("test",)

    def __init__(self) -> None:
        self.reading = KeyReading(ClientKeys("id-7", Secret("secret-7")), 7)
        self.loads = 0

    def rotate(self) -> None:
        version = (self.reading.version or 0) + 1
        self.reading = KeyReading(ClientKeys(f"id-{version}", Secret(f"secret-{version}")), version)

    def load(self) -> KeyReading:
        self.loads += 1
        return self.reading

    async def aload(self) -> KeyReading:
        return self.load()

    def forget(self) -> None:
        """Nothing is kept."""


class Bloq:
    """Accounts and Nodes by script, and the driver that reaches them: time passes when it sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.lifetime = 60 * MINUTE
        self.good_keys = {"id-7"}
        self.good_refresh: set[str] = set()
        self.revoked: set[str] = set()
        self.mints = self.refreshes = self.calls = self.slept = 0
        self.down: int | None = None
        self.masked: list[str] = []
        self._count = 0

    def clock(self) -> float:
        return self.time

    def run(self, flow: Flow[Any]) -> Any:
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
                while True:
                    try:
                        answer = self._perform(effect)
                        break
                    except BloqError as error:
                        effect = flow.throw(error)
            except StopIteration as end:
                return end.value

    def _perform(self, effect: Any) -> Any:
        match effect:
            case Send(request):
                return self._answer(request)
            case Sleep(seconds):
                self.slept += 1
                self.time += seconds
            case LoadKeys(source):
                return source.load()
            case Mask(secrets):
                self.masked += [secret.reveal() for secret in secrets]
            case Lead(ticket, flow):
                try:
                    result = self.run(flow)
                except BaseException as error:
                    ticket.crash(error)
                    raise
                ticket.land(result)
                return result
            case Follow():
                return Landing.CANNOT_WAIT
        return None

    def _answer(self, request: Request) -> Response:
        if request.url.startswith(ACCOUNTS):
            return self._grant(json.loads(request.body or b"{}"))
        self.calls += 1
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token or token in self.revoked or self._claims(token)["end"] <= self.time:
            return Response(401, body=b"jwt expired")
        return Response(200, body=b"{}")

    def _grant(self, grant: dict[str, str]) -> Response:
        if self.down is not None:
            return Response(self.down, {"retry-after": "2"})
        if grant["grantType"] == "refreshToken":
            if grant["refreshToken"] not in self.good_refresh:
                return Response(401)
            self.refreshes += 1
            return self._reply(None)
        if grant["clientId"] not in self.good_keys:
            return Response(401)
        self.mints += 1
        self.good_refresh.add(f"refresh-{self.mints}")
        return self._reply(f"refresh-{self.mints}")

    def _reply(self, refresh: str | None) -> Response:
        self._count += 1
        # The worker's clock has nothing to do with the service's: iat lies years back.
        claims = {"iat": 5, "exp": 5 + self.lifetime, "end": self.time + self.lifetime, "n": self._count}
        body = {"accessToken": jwt.encode(claims, "k" * 32)} | ({"refreshToken": refresh} if refresh else {})
        return Response(200, body=json.dumps(body).encode())

    @staticmethod
    def _claims(token: str) -> dict[str, Any]:
        return jwt.decode(token, options={"verify_signature": False})


@pytest.fixture
def bloq() -> Bloq:
    return Bloq()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def provider(bloq: Bloq, source: Source) -> TokenProvider:
    endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
    return TokenProvider(endpoint, source, clock=bloq.clock, random=lambda: 0.5)


@pytest.fixture
def bearer(provider: TokenProvider) -> BearerAuth:
    return BearerAuth(provider, TrustedOrigins([Origin.of(NODES)]))


def call(bloq: Bloq, bearer: BearerAuth, url: str = NODES, method: str = "GET") -> Response:
    response = bloq.run(bearer.send(Request(method, url)))
    assert isinstance(response, Response)
    return response


def test_fifty_calls_in_150_minutes_cost_one_reading_one_mint_and_two_refreshes(
    bloq: Bloq, source: Source, bearer: BearerAuth
) -> None:
    for _ in range(50):
        assert call(bloq, bearer).status == 200
        bloq.time += 3 * MINUTE
    assert (source.loads, bloq.mints, bloq.refreshes, bloq.calls) == (1, 1, 2, 50)


def test_a_revoked_refresh_token_costs_one_more_mint(bloq: Bloq, source: Source, bearer: BearerAuth) -> None:
    call(bloq, bearer)
    bloq.good_refresh.clear()
    bloq.time += 61 * MINUTE
    assert call(bloq, bearer).status == 200
    assert (source.loads, bloq.mints, bloq.refreshes) == (1, 2, 0)


def test_rotated_keys_cost_one_more_reading_and_one_more_mint(
    bloq: Bloq, source: Source, bearer: BearerAuth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    call(bloq, bearer)
    source.rotate()
    bloq.good_keys = {"id-8"}
    bloq.good_refresh.clear()
    bloq.time += 61 * MINUTE
    assert call(bloq, bearer).status == 200
    assert (source.loads, bloq.mints) == (2, 2)
    assert "Client keys version 7 -> 8" in caplog.text
    assert bearer.provider.key_version == 8


def test_refused_keys_are_read_again_exactly_once(bloq: Bloq, source: Source, bearer: BearerAuth) -> None:
    bloq.good_keys = set()
    with pytest.raises(BloqClientKeysRejected, match="id-7.*a test's keys") as refusal:
        call(bloq, bearer)
    assert source.loads == 2
    assert "secret-7" not in repr(refusal.value)


def test_new_keys_that_are_refused_as_well_end_the_climb(
    bloq: Bloq, source: Source, bearer: BearerAuth
) -> None:
    call(bloq, bearer)
    source.rotate()
    bloq.good_keys = set()
    bloq.good_refresh.clear()
    bloq.time += 61 * MINUTE
    with pytest.raises(BloqClientKeysRejected, match="id-8"):
        call(bloq, bearer)
    assert source.loads == 2


def test_a_401_is_answered_with_another_token_once(bloq: Bloq, bearer: BearerAuth) -> None:
    call(bloq, bearer)
    bloq.revoked.add(bloq.run(bearer.provider.token()).secret.reveal())
    assert call(bloq, bearer, method="POST").status == 200
    assert (bloq.calls, bloq.refreshes) == (3, 1)


def test_a_second_401_is_an_error(bloq: Bloq, bearer: BearerAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bloq, "_claims", staticmethod(lambda _: {"end": 0}))
    with pytest.raises(BloqTokenRejected):
        call(bloq, bearer)
    assert bloq.calls == 2


def test_a_foreign_origin_gets_no_token_and_its_401_no_answer(bloq: Bloq, bearer: BearerAuth) -> None:
    assert call(bloq, bearer, "https://nodes.example.evil.example/").status == 401
    assert call(bloq, bearer, NODES + ":8443/").status == 401
    assert (bloq.mints, bloq.calls) == (0, 2)


def test_an_early_renewal_that_fails_is_swallowed_and_not_tried_at_every_call(
    bloq: Bloq, bearer: BearerAuth
) -> None:
    call(bloq, bearer)
    bloq.time += 56 * MINUTE
    bloq.down = 503
    for _ in range(5):
        assert call(bloq, bearer).status == 200
    assert bloq.slept == 0
    bloq.time += 5 * MINUTE
    with pytest.raises(BloqUnavailable):
        call(bloq, bearer)
    bloq.down = None
    assert call(bloq, bearer).status == 200


def test_retry_after_is_obeyed_at_the_token_endpoint(bloq: Bloq, bearer: BearerAuth) -> None:
    bloq.down = 429
    began = bloq.time
    with pytest.raises(BloqError):
        call(bloq, bearer)
    assert bloq.slept == 4
    assert bloq.time - began >= 8


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_a_token_is_renewed_from_its_margin_on(bloq: Bloq, bearer: BearerAuth, offset: int) -> None:
    call(bloq, bearer)
    # Five minutes less half of the jitter's minute.
    bloq.time += 60 * MINUTE - 270 + offset
    call(bloq, bearer)
    assert bloq.refreshes == (0 if offset < 0 else 1)


def test_a_short_lived_token_has_half_its_life_as_margin(bloq: Bloq, bearer: BearerAuth) -> None:
    bloq.lifetime = 6.0
    call(bloq, bearer)
    bloq.time += 2.9
    call(bloq, bearer)
    assert bloq.refreshes == 0
    bloq.time += 0.2
    call(bloq, bearer)
    assert bloq.refreshes == 1


@pytest.mark.parametrize(
    "claims",
    [{}, {"iat": 9}, {"iat": 9, "exp": 9}, {"iat": 9, "exp": 1}, {"iat": 9, "exp": 9 + 3_600_000},
     {"iat": True, "exp": 3600}, {"iat": 9, "exp": "soon"}, {"iat": 9, "exp": 10**400}],
)  # fmt: skip
def test_an_unbelievable_lifetime_is_taken_for_55_minutes(
    claims: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    token = Secret(jwt.encode(claims, "k" * 32))
    assert lifetime_of(token, None) == 55 * MINUTE
    assert "55 minutes" in caplog.text


def test_without_iat_the_service_s_date_is_the_time_of_issue() -> None:
    assert lifetime_of(Secret(jwt.encode({"exp": 5000}, "k" * 32)), 1400.0) == 3600
    assert lifetime_of(Secret("opaque"), 1400.0) == 55 * MINUTE


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (401, b"", True), (401, b"jwt expired", True), (403, b"", True), (403, b"<html>", True),
        (403, b'{"code": "TokenExpired"}', True), (403, b'{"code": "InvalidCredentials"}', True),
        (403, b'{"code": "LimitExceeded"}', False), (403, b'{"code": "Forbidden"}', False),
        (404, b"", False), (200, b"", False), (403, b"[]", True),
    ],
)  # fmt: skip
def test_what_counts_as_a_refusal_of_the_token(status: int, body: bytes, refused: bool) -> None:
    assert is_auth_refusal(status, body) is refused


def test_every_token_and_key_is_masked(bloq: Bloq, bearer: BearerAuth) -> None:
    call(bloq, bearer)
    token = bloq.run(bearer.provider.token()).secret.reveal()
    assert {"secret-7", "refresh-1", token} <= set(bloq.masked)


def test_a_rejected_token_that_was_replaced_already_is_no_news(bloq: Bloq, bearer: BearerAuth) -> None:
    call(bloq, bearer)
    bearer.provider.reject(Secret("another"))
    call(bloq, bearer)
    assert (bloq.mints, bloq.refreshes) == (1, 0)


def test_a_secret_shows_itself_to_nobody(bloq: Bloq) -> None:
    secret = Secret("hush-hush")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", json.dumps([secret]), "%s" % secret]  # noqa: UP031
    assert not any("hush" in text for text in shown)
    assert b"hush" not in pickle.dumps(secret)
    assert secret.reveal() == "hush-hush"
    assert secret == Secret("hush-hush")
    assert secret != Secret("other")


@pytest.fixture
def forked_cache(provider: TokenProvider) -> ProviderCache:
    cache = ProviderCache()
    os.register_at_fork(after_in_child=cache.forget)
    cache.hold(credential_key(ACCOUNTS, ("a",)), lambda: provider)
    return cache


def test_a_forked_child_starts_with_an_empty_cache(
    forked_cache: ProviderCache, bloq: Bloq, provider: TokenProvider
) -> None:
    bloq.run(provider.token())
    child = os.fork()
    if child == 0:
        os._exit(0 if len(forked_cache) == 0 and provider.expires_in is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert provider.expires_in is not None


def test_a_lease_ends_with_its_block_and_a_spent_entry_goes(bloq: Bloq, provider: TokenProvider) -> None:
    cache = ProviderCache()
    with cache.lease("a", lambda: provider) as first, cache.lease("a", lambda: provider) as second:
        assert first is second
    bloq.run(provider.token())
    with cache.lease("b", lambda: provider):
        assert len(cache) == 2
    bloq.time += 61 * MINUTE
    with cache.lease("c", lambda: provider):
        assert len(cache) == 1


def test_the_key_of_a_credential_tells_its_parts_apart() -> None:
    assert credential_key("a", ("b", "c")) != credential_key("a", ("bc", ""))
    assert credential_key("a", ("b",)) != credential_key("b", ("b",))


class Gate:
    """A token endpoint that lets a mint go on when told, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def mint(self, keys: ClientKeys, *, patient: bool) -> Flow[Any]:
        from airflow_provider_bloq.auth.token import TokenReply

        yield Sleep(0.05)
        with self.lock:
            self.count += 1
        return TokenReply(Secret(jwt.encode({"iat": 0, "exp": 3600, "n": self.count}, "k" * 32)))

    def refresh(self, refresh_token: Secret, *, patient: bool) -> Flow[Any]:
        return self.mint(ClientKeys("", refresh_token), patient=patient)


def test_64_threads_that_find_no_token_cause_one_mint(source: Source) -> None:
    from airflow_provider_bloq.transport.blocking import BlockingDriver
    from airflow_provider_bloq.transport.network import Network

    gate = Gate()
    provider = TokenProvider(gate, source)
    driver = BlockingDriver(Network(), mask=lambda _: None)
    together = threading.Barrier(64)
    tokens: list[str] = []

    def ask() -> None:
        together.wait()
        tokens.append(driver.run(provider.token()).secret.reveal())

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.count == 1
    assert len(tokens) == 64
    assert len(set(tokens)) == 1


async def test_500_coroutines_that_find_no_token_cause_one_mint(source: Source) -> None:
    driver, gate = awaiting_driver(), Gate()
    provider = TokenProvider(gate, source)
    tokens = await asyncio.gather(*(driver.run(provider.token()) for _ in range(500)))
    assert gate.count == 1
    assert len({token.secret for token in tokens}) == 1


async def test_a_cancelled_leader_does_not_take_the_token_from_the_others(source: Source) -> None:
    driver, gate = awaiting_driver(), Gate()
    provider = TokenProvider(gate, source)
    leader = asyncio.create_task(driver.run(provider.token()))
    await asyncio.sleep(0)
    follower = asyncio.create_task(driver.run(provider.token()))
    await asyncio.sleep(0)
    leader.cancel()
    assert (await follower).secret
    assert gate.count == 1


def awaiting_driver() -> Any:
    from airflow_provider_bloq.transport.awaiting import AwaitingDriver
    from airflow_provider_bloq.transport.network import Network

    async def mask(_: str) -> None:
        """Nothing logs here."""

    return AwaitingDriver(Network(), mask=mask)
