"""What users of other Airflow providers really hit, once each: the issue is named above its test.

Numbers are of apache/airflow where no other repository is named.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.cache import ProviderCache, credential_key
from airflow_provider_bloq.auth.credentials import KeyReading, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import AccessToken, ClientKeysTokenProvider, TokenReply
from airflow_provider_bloq.exceptions import BloqError, BloqUnavailable
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.effects import Request, Response
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.retry import RetryPolicy
from tests.support.drivers import DRIVERS, DriverKind, blocking_driver, run_to_end
from tests.support.gated_endpoint import LONGEST, GatedEndpoint
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, answering
from tests.support.scripted_bloq import (
    ACCOUNTS,
    MINUTE,
    NODES,
    RotatingKeys,
    ScriptedBloq,
    signed_token,
)
from tests.support.signing import FixedKeys

Call = Callable[..., Response]


# PR 20036: the check of expiry was inverted.
@pytest.mark.parametrize(
    ("age", "fresh", "alive"),
    [(0, True, True), (3299, True, True), (3300, False, True), (3599, False, True), (3600, False, False)],
)
def test_a_young_token_is_fresh_and_an_old_one_is_not(age: int, fresh: bool, alive: bool) -> None:
    token = AccessToken.from_reply(TokenReply(Secret(signed_token(iat=0, exp=3600))), 0.0, lambda: 0.0)
    assert (token.is_fresh(age), token.is_alive(age)) == (fresh, alive)


# Issue 27830: polling went on for longer than the token that it had begun with.
def test_every_poll_asks_for_the_token_that_is_good_then(bloq: ScriptedBloq, call: Call) -> None:
    for _ in range(48):
        assert call().status == 200
        bloq.time += 5 * MINUTE
    assert len({request.headers["Authorization"] for request in bloq.sent}) == bloq.refreshes + 1 == 4


# Issue 34450: the asynchronous way lagged behind the other.
def test_both_drivers_run_the_same_ladder() -> None:
    seen: dict[DriverKind, list[tuple[str, str | None, bytes]]] = {}
    for kind in DRIVERS:
        with RawServer(_accounts_and_a_service_that_refuses_once()) as server:
            provider = ClientKeysTokenProvider(
                AccountsTokenEndpoint(server.url, RetryPolicy()), RotatingKeys()
            )
            bearer = BearerAuth(provider, TrustedOrigins([Origin.of(server.url)]))
            run_to_end(kind, partial(bearer.send, Request("POST", f"{server.url}/call", body=b"{}")))
            seen[kind] = [(one.target, one.authorization, one.body) for one in server.requests]
    assert seen["blocking"] == seen["awaiting"]
    assert [target for target, _, _ in seen["blocking"]] == ["/auth/token", "/call", "/auth/token", "/call"]


def _accounts_and_a_service_that_refuses_once() -> Callable[[RawConnection, SeenRequest], None]:
    tokens = iter(["one", "two"])

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            reply = {"accessToken": next(tokens), "refreshToken": "refresh"}
            connection.reply(200, json.dumps(reply).encode())
        else:
            connection.reply(200 if request.authorization == "Bearer two" else 401)

    return script


# Issue 34968, astronomer-providers 1342: the token of before the deferral was dead after it.
def test_no_token_survives_being_carried_to_another_process(
    bloq: ScriptedBloq, provider: ClientKeysTokenProvider
) -> None:
    token = bloq.run(provider.token())
    carried = pickle.loads(pickle.dumps(token.secret))
    assert carried == "***"
    assert not isinstance(carried, Secret)
    with pytest.raises(TypeError):
        pickle.dumps(provider)


# PR 60027: the token was kept together with the settings, and as long as them.
def test_a_token_is_resolved_at_each_request_and_not_when_things_are_put_together(
    bloq: ScriptedBloq, bearer: BearerAuth
) -> None:
    assert bloq.grants == []
    first = bloq.run(bearer.sign(Request("GET", NODES)))
    bloq.time += 61 * MINUTE
    assert bloq.run(bearer.sign(Request("GET", NODES))).headers != first.headers


# Issue 59385: a new token for each poll, and a line at INFO for each.
def test_polls_share_a_token_and_fill_no_log(
    bloq: ScriptedBloq, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(100):
        call()
    assert bloq.grants == ["clientCredentials"]
    assert [record.message for record in caplog.records] == [
        "Client keys read from a test's keys, version 7",
        "Access token minted, lives 60 min, keys version 7",
    ]


# PR 72688, PRs 69128 and 69365: a cache kept a dead token until the process ended.
def test_a_refused_token_leaves_the_cache_at_once(bloq: ScriptedBloq, source: RotatingKeys) -> None:
    cache = ProviderCache()

    def make() -> ClientKeysTokenProvider:
        return ClientKeysTokenProvider(
            AccountsTokenEndpoint(ACCOUNTS, RetryPolicy()), source, clock=bloq.clock
        )

    key = credential_key(ACCOUNTS, source.identity)
    one, other = (BearerAuth(cache.hold(key, make), TrustedOrigins([Origin.of(NODES)])) for _ in range(2))
    dead = bloq.run(one.provider.token()).secret
    bloq.revoked.add(dead.reveal())
    bloq.run(one.send(Request("GET", NODES)))
    bloq.sent.clear()
    bloq.run(other.send(Request("GET", NODES)))
    assert len(bloq.sent) == 1
    assert bloq.run(other.provider.token()).secret != dead


# drt-hub/drt 1156, Colin-b/httpx_auth 97: one client was given another client's token.
def test_two_clients_of_one_accounts_service_share_no_token(bloq: ScriptedBloq) -> None:
    cache = ProviderCache()
    bloq.good_ids.add("id-8")
    one, other = RotatingKeys(identity=("connection", "id-7")), RotatingKeys(identity=("connection", "id-8"))
    other.rotate(8)

    def token_of(source: RotatingKeys) -> Secret:
        endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
        provider = cache.hold(
            credential_key(ACCOUNTS, source.identity),
            lambda: ClientKeysTokenProvider(endpoint, source, clock=bloq.clock),
        )
        token: AccessToken = bloq.run(provider.token())
        return token.secret

    assert token_of(one) != token_of(other)
    assert (bloq.mints, one.loads, other.loads) == (2, 1, 1)


# Issue 47950: parallel tasks exhausted the token service.
def test_many_workers_that_are_told_to_wait_do_not_come_back_as_one(bloq: ScriptedBloq) -> None:
    pauses = set()
    for _ in range(20):
        bloq.accounts_answers.append(Response(429, {"retry-after": "3"}))
        provider = ClientKeysTokenProvider(AccountsTokenEndpoint(ACCOUNTS, RetryPolicy()), RotatingKeys())
        bloq.slept.clear()
        bloq.run(provider.token())
        pauses.update(bloq.slept)
    assert len(pauses) > 10
    assert min(pauses) >= 3


# PR 34927: each login ended the one before, so that one of many tasks survived.
def test_tasks_whose_logins_end_each_other_s_tokens_work_all_the_same(bloq: ScriptedBloq) -> None:
    trusted = TrustedOrigins([Origin.of(NODES)])
    endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
    tasks = [
        BearerAuth(ClientKeysTokenProvider(endpoint, RotatingKeys(), clock=bloq.clock), trusted)
        for _ in range(3)
    ]
    for _ in range(3):
        for task in tasks:
            mints = bloq.mints
            assert bloq.run(task.send(Request("GET", NODES))).status == 200
            if bloq.mints > mints:
                alive = bloq.run(task.provider.token()).secret.reveal()
                bloq.revoked.update(set(bloq.masked) - {alive})
                bloq.good_refresh = {f"refresh-{bloq.mints}-{bloq.refreshes}"}


# dograh 612, open-chat-studio 3786: who had waited for the lock renewed once more.
def test_who_comes_late_finds_the_new_token(bloq: ScriptedBloq, provider: ClientKeysTokenProvider) -> None:
    late = provider._ensure_fresh()
    bloq.run(provider.token())
    assert bloq.run(late).secret == bloq.run(provider.token()).secret
    assert bloq.mints == 1


# HQBase 41, fastmcp 5037 and others: a rotating refresh token that is used twice ends its whole family.
def test_a_rotating_refresh_token_is_never_shown_twice() -> None:
    endpoint = GatedEndpoint()
    endpoint.holdup.released.set()
    provider = ClientKeysTokenProvider(
        endpoint, FixedKeys(), clock=iter([0.0] * 3 + [4000.0] * 10_000).__next__
    )
    driver = blocking_driver()
    driver.run(provider.token())
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(lambda: driver.run(provider.token())) for _ in range(16)]
        assert len({one.result(LONGEST).secret for one in asked}) == 1
    assert (endpoint.mints, endpoint.refreshes) == (1, 1)


# dust 20853, airbyte 3990: the refresh token of the reply was thrown away.
def test_the_newest_refresh_token_is_the_one_that_is_shown(bloq: ScriptedBloq, call: Call) -> None:
    bloq.rotates = True
    for _ in range(5):
        call()
        bloq.time += 61 * MINUTE
    assert bloq.grants == ["clientCredentials"] + ["refreshToken"] * 4


# Issues 42520, 46542 and 47161: an HTML page instead of JSON ended in a JSONDecodeError.
@pytest.mark.parametrize("kind", DRIVERS)
def test_a_page_instead_of_a_token_is_told_with_url_status_and_kind(kind: DriverKind) -> None:
    with RawServer(answering(200, b"<html>Sign in</html>", Content_Type="text/html")) as server:
        provider = ClientKeysTokenProvider(AccountsTokenEndpoint(server.url, RetryPolicy()), RotatingKeys())
        with pytest.raises(BloqUnavailable, match=rf"{server.url}/auth/token answered 200.*text/html"):
            run_to_end(kind, provider.token)


# Issues 62428, 62773, 48569 and 55466: tokens stood in logs by way of a repr.
def test_nothing_that_holds_a_secret_shows_it_in_its_repr(
    bloq: ScriptedBloq, source: RotatingKeys, bearer: BearerAuth
) -> None:
    token = bloq.run(bearer.provider.token())
    signed = bloq.run(bearer.sign(Request("GET", NODES)))
    kept = [part for name, part in vars(bearer.provider).items() if name not in ("_endpoint", "_clock")]
    shown = repr([token, signed, source.reading, bearer, bearer.provider, kept])
    for secret in (token.secret.reveal(), source.reading.keys.client_secret.reveal(), "refresh-1-0"):
        assert secret not in shown


# Issue 65286: masking by a blocking call froze the triggerer.
async def test_on_an_event_loop_secrets_are_masked_by_awaiting_only() -> None:
    masked: list[str] = []

    async def amask(secret: str) -> None:
        masked.append(secret)

    class Keys(FixedKeys):
        def load(self) -> KeyReading:
            raise AssertionError("read with a blocking call on the loop")

        async def aload(self) -> KeyReading:
            return FixedKeys.load(self)

    with RawServer(answering(200, b'{"accessToken": "one", "refreshToken": "two"}')) as server:
        provider = ClientKeysTokenProvider(AccountsTokenEndpoint(server.url, RetryPolicy()), Keys())
        driver = AsyncDriver(Network(), mask=amask)
        assert (await driver.run(provider.token())).secret.reveal() == "one"
        await driver.close()
    assert masked == ["secret", "one", "two"]


# n8n 37299: the body of the token endpoint stood in an error that was kept.
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 418, 429, 500, 503])
def test_no_error_holds_the_body_of_the_token_endpoint(bloq: ScriptedBloq, call: Call, status: int) -> None:
    body = json.dumps({"code": "hush", "title": "hush", "detail": "hush", "message": "hush", "x": "hush"})
    bloq.accounts_fault = Response(status, {"content-type": "application/json"}, body.encode())
    with pytest.raises(BloqError) as refusal:
        call()
    error = refusal.value
    assert "hush" not in f"{error} {error!r} {vars(error)} {error.__cause__!r}"


# The other half of the same lesson: a secret is bound to the host that it was made for.
def test_client_keys_go_to_the_accounts_url_only(bloq: ScriptedBloq, call: Call) -> None:
    bloq.accounts_fault = Response(307, {"location": "https://evil.example/auth/token"})
    with pytest.raises(BloqError, match="307"):
        call()
    assert bloq.sent == []
