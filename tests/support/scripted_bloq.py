"""Bloq by script, without a socket: Accounts and one service, and a driver whose sleeping moves their clock."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import jwt

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.effects import (
    AwaitShared,
    Effect,
    Emit,
    Flow,
    LoadKeys,
    Mask,
    Request,
    Response,
    RunBlocking,
    RunShared,
    Send,
    SharedOutcome,
    Sleep,
)
from airflow_provider_bloq.flow.events import Observer, log_event

__all__ = ["ACCOUNTS", "MINUTE", "NODES", "RotatingKeys", "ScriptedBloq", "signed_token"]

ACCOUNTS = "https://accounts.example"
NODES = "https://nodes.example"
MINUTE = 60.0


def signed_token(**claims: Any) -> str:
    return jwt.encode(claims, "k" * 32)


@dataclass
class RotatingKeys:
    """Client keys that can be rotated at their source; counts how often they are read."""

    description: str = "a test's keys"
    identity: tuple[str, ...] = ("test",)
    reading: KeyReading = KeyReading(ClientKeys("id-7", Secret("secret-7")), 7)
    loads: int = 0
    #: Raised instead of a reading.
    failure: Exception | None = None

    def rotate(self, version: int | None = 8) -> None:
        name = version if version is not None else "new"
        self.reading = KeyReading(ClientKeys(f"id-{name}", Secret(f"secret-{name}")), version)

    def load(self) -> KeyReading:
        self.loads += 1
        if self.failure is not None:
            raise self.failure
        return self.reading

    async def aload(self) -> KeyReading:
        return self.load()

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass
class ScriptedBloq:
    """The state of both services, with what they were asked, and the time of all."""

    time: float = 1000.0
    lifetime: float = 60 * MINUTE
    good_ids: set[str] = field(default_factory=lambda: {"id-7"})
    good_refresh: set[str] = field(default_factory=set)
    #: Whether a refresh hands out a new refresh token and ends the old one.
    rotates: bool = False
    revoked: set[str] = field(default_factory=set)
    #: What Accounts answers next instead of serving a grant.
    accounts_answers: deque[Response] = field(default_factory=deque)
    #: What Accounts answers to every grant while it is set.
    accounts_fault: Response | None = None
    #: Whether no request to Accounts is answered.
    is_cut_off: bool = False
    #: What the service answers next instead of looking at the token.
    service_answers: deque[Response] = field(default_factory=deque)

    mints: int = 0
    refreshes: int = 0
    grants: list[str] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    #: Is told what happens.
    observe: Observer = log_event
    _ends: dict[str, float] = field(default_factory=dict)

    def clock(self) -> float:
        return self.time

    @property
    def calls(self) -> int:
        """Requests that reached the service."""
        return len(self.sent)

    def run(self, flow: Flow[Any]) -> Any:
        """Drive a flow to its end."""
        answer: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = flow.send(answer) if failure is None else flow.throw(failure)
            except StopIteration as end:
                return end.value
            answer, failure = None, None
            try:
                answer = self._perform(effect)
            except Exception as error:
                failure = error

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return self.answer(request)
            case Sleep(seconds):
                self.slept.append(seconds)
                self.time += seconds
            case LoadKeys(source):
                return source.load()
            case Mask(secrets):
                self.masked += [secret.reveal() for secret in secrets]
            case Emit(event):
                self.observe(event)
            case RunBlocking(call):
                return call()
            case RunShared(call, flow):
                try:
                    result = self.run(flow)
                except BaseException as error:
                    call.set_error(error)
                    raise
                call.set_result(result)
                return result
            case AwaitShared():
                return SharedOutcome.WOULD_DEADLOCK
        return None

    def lives(self, token: str) -> bool:
        """Tell whether an access token has not come to its end; it may be revoked all the same."""
        return self._ends.get(token, 0.0) > self.time

    def answer(self, request: Request) -> Response:
        """Answer as Accounts or the service does."""
        if request.url.startswith(ACCOUNTS):
            if self.is_cut_off:
                raise BloqUnavailable("there is no way to Accounts")
            return self._granted(json.loads(request.body or b"{}"))
        self.sent.append(request)
        if self.service_answers:
            return self.service_answers.popleft()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.revoked or not self.lives(token):
            return Response(401, body=b"jwt expired")
        return Response(200, body=b"{}")

    def _granted(self, grant: dict[str, str]) -> Response:
        self.grants.append(grant["grantType"])
        if self.accounts_fault is not None:
            return self.accounts_fault
        if self.accounts_answers:
            return self.accounts_answers.popleft()
        if grant["grantType"] == "refreshToken":
            return self._refreshed(grant["refreshToken"])
        if grant["clientId"] not in self.good_ids:
            return Response(401, body=b'{"code": "InvalidCredentials"}')
        self.mints += 1
        return self._reply(self._new_refresh_token())

    def _refreshed(self, refresh_token: str) -> Response:
        if refresh_token not in self.good_refresh:
            return Response(401, body=b'{"code": "InvalidCredentials"}')
        self.refreshes += 1
        if not self.rotates:
            return self._reply(None)
        self.good_refresh.remove(refresh_token)
        return self._reply(self._new_refresh_token())

    def _new_refresh_token(self) -> str:
        token = f"refresh-{self.mints}-{self.refreshes}"
        self.good_refresh.add(token)
        return token

    def _reply(self, refresh_token: str | None) -> Response:
        # The worker's clock has nothing to do with the service's: iat lies years back.
        token = signed_token(iat=5, exp=5 + self.lifetime, n=len(self._ends))
        self._ends[token] = self.time + self.lifetime
        reply = {"accessToken": token}
        if refresh_token is not None:
            reply["refreshToken"] = refresh_token
        return Response(200, body=json.dumps(reply).encode())
