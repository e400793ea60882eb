"""A fleet of processes in simulated time: each runs real flows, and all meet the same services."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider, TokenProvider
from airflow_provider_bloq.flow.effects import (
    AwaitShared,
    Flow,
    LoadKeys,
    Request,
    Response,
    RunShared,
    Send,
    SharedOutcome,
    Sleep,
)
from airflow_provider_bloq.flow.retry import RetryPolicy
from tests.support.scripted_bloq import ACCOUNTS, NODES, RotatingKeys, ScriptedBloq
from tests.support.shared_slots import FakeStore

__all__ = ["PATIENCE", "Process", "SimulatedFleet"]

#: What one way to any of the services takes, in seconds.
LATENCY = 0.02
PATIENCE = 50.0

#: A process: gives the seconds until it wants to go on.
Process: TypeAlias = Generator[float, None, Any]


@dataclass
class SimulatedFleet:
    """The services, the processes, and the time of all.

    :param seed: Makes a run repeatable.
    """

    seed: int = 1
    bloq: ScriptedBloq = field(default_factory=ScriptedBloq)
    #: Readings of client keys, one request to Vault each.
    key_reads: int = 0
    failures: list[Exception] = field(default_factory=list)
    store: FakeStore = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        # A clock of its own, hours off the others.
        self.store = FakeStore(lambda: self.bloq.time + 7e8, latency=LATENCY)
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Process]] = []

    def start(self, at: float, process: Process) -> None:
        """Let a process begin at a time."""
        heapq.heappush(self._agenda, (at, next(self._order), process))

    def run(self) -> None:
        """Let time pass until every process has ended."""
        while self._agenda:
            at, _, process = heapq.heappop(self._agenda)
            self.bloq.time = at
            try:
                pause = next(process)
            except StopIteration:
                continue
            except Exception as error:
                self.failures.append(error)
                continue
            self.start(at + pause, process)

    def member(self, source: RotatingKeys | None = None) -> SharedTokenProvider:
        """Make what a process with client keys has."""
        return self._shared(self.lone(source))

    def reader(self) -> SharedTokenProvider:
        """Make what a process without client keys has."""
        return self._shared(None)

    def lone(self, source: RotatingKeys | None = None) -> ClientKeysTokenProvider:
        """Make what a process has that shares nothing."""
        endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy(random=self.random.random))
        # A monotonic clock begins anywhere.
        clock = self._clock()
        return ClientKeysTokenProvider(
            endpoint, source or RotatingKeys(), clock=clock, random=self.random.random
        )

    def _shared(self, minter: ClientKeysTokenProvider | None) -> SharedTokenProvider:
        return SharedTokenProvider(
            self.store.shared,
            ACCOUNTS,
            minter=minter,
            max_wait=PATIENCE,
            clock=minter._clock if minter is not None else self._clock(),
            random=self.random.random,
        )

    def _clock(self) -> Callable[[], float]:
        start = self.random.uniform(0, 1e6)
        return lambda: self.bloq.time + start

    def task(self, supply: TokenProvider, calls: int, pause: float) -> Process:
        """A task that calls the service some times and ends."""
        bearer = BearerAuth(supply, TrustedOrigins([Origin.of(NODES)]))
        for _ in range(calls):
            response: Response = yield from self.driven(bearer.send(Request("GET", NODES)))
            assert response.status == 200
            yield pause

    def driven(self, flow: Flow[Any]) -> Process:
        """Drive a flow, with time passing where it waits."""
        answer: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = flow.send(answer) if failure is None else flow.throw(failure)
            except StopIteration as end:
                return end.value
            answer, failure = None, None
            try:
                match effect:
                    case Send(request):
                        yield LATENCY
                        answer = self.bloq.answer(request)
                        yield LATENCY
                    case LoadKeys(source):
                        yield LATENCY
                        self.key_reads += 1
                        answer = source.load()
                    case Sleep(seconds):
                        yield seconds
                    case RunShared(call, led):
                        answer = yield from self._led(call, led)
                    case AwaitShared():
                        answer = SharedOutcome.WOULD_DEADLOCK
            except Exception as error:
                failure = error

    def _led(self, call: Any, flow: Flow[Any]) -> Process:
        try:
            result = yield from self.driven(flow)
        except BaseException as error:
            call.set_error(error)
            raise
        call.set_result(result)
        return result
