"""The blocking driver of flows: ``requests`` sends, the thread sleeps."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import requests
import urllib3

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqApiError
from airflow_provider_bloq.flow.effects import (
    AwaitShared,
    Effect,
    Emit,
    Flow,
    FlowSteps,
    LoadKeys,
    Mask,
    Request,
    Response,
    RunBlocking,
    RunShared,
    Send,
    SharedCall,
    SharedOutcome,
    Sleep,
    Trust,
)
from airflow_provider_bloq.flow.events import Observer, log_event
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.service import failure_event, no_answer, response_event, wrong_certificate
from airflow_provider_bloq.flow.session import BloqSession, PinMismatch

__all__ = [
    "SyncDriver",
]


T = TypeVar("T")

#: Seconds after which a waiting thread checks whether the event loop that runs the shared call still runs.
OWNER_CHECK_INTERVAL = 1.0


class SyncDriver:
    """Runs flows in the calling thread. Thread-safe.

    :param network: The connection's settings.
    :param mask: Hides a secret wherever the process logs.
    :param sleep: Waits for some seconds.
    :param observe: Receives the events.
    """

    def __init__(
        self,
        network: Network,
        *,
        mask: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        observe: Observer = log_event,
    ) -> None:
        self._network = network
        self._mask = mask
        self._sleep = sleep
        self._observe = observe
        self._sessions: dict[Trust, BloqSession] = {}
        #: What was masked, and in which process: a forked child has another supervisor.
        self._masked: tuple[int, set[Secret]] = (os.getpid(), set())

    def run(self, flow: Flow[T], /) -> T:
        """Run a flow to its end and return its result."""
        with FlowSteps(flow) as steps:
            for effect in steps:
                try:
                    steps.answer = self._perform(effect)
                except Exception as error:
                    steps.failure = error
            return steps.result

    def close(self) -> None:
        """Close the connections that are kept open."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return self._send_observed(request)
            case Sleep(seconds):
                return self._sleep(seconds)
            case LoadKeys(source):
                return source.load()
            case Mask(secrets):
                for secret in secrets:
                    self._mask_once(secret)
                return None
            case Emit(event):
                return self._observe(event)
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
            case AwaitShared(call):
                return _await_shared(call)

    def _mask_once(self, secret: Secret) -> None:
        # A wait for a node reads the same passwords at each poll.
        if self._masked[0] != os.getpid():
            self._masked = (os.getpid(), set())
        _, masked = self._masked
        if secret not in masked:
            self._mask(secret.reveal())
            masked.add(secret)

    def _send_observed(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            response = self._send(request)
        except BloqApiError as error:
            self._observe(failure_event(request, error, time.monotonic() - started))
            raise
        self._observe(response_event(request, response))
        return response

    def _send(self, request: Request) -> Response:
        try:
            return self._exchange(request)
        except requests.RequestException as error:
            mismatch = _mismatch(error)
            failure: BloqApiError = (
                no_answer(request, error, acted=not _was_not_sent(error))
                if mismatch is None
                else wrong_certificate(request, mismatch.fingerprint)
            )
        except OSError as error:
            # The CA bundle that the environment names does not exist.
            failure = no_answer(request, error, acted=False)
        except ValueError as error:
            # requests reads the target of a redirect even if it does not follow it, and may fail.
            failure = no_answer(request, error, acted=True)
        # Raised outside the except, since the errors of requests hold the request with its credentials and would become
        # the context.
        raise failure

    def _exchange(self, request: Request) -> Response:
        started = time.monotonic()
        # Redirects are not followed: none is documented, and one would forward the client keys.
        response = self._session(request.trust).request(
            request.method,
            request.revealed_url,
            headers=dict(request.headers),
            data=request.body,
            allow_redirects=False,
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, headers, response.content, time.monotonic() - started)

    def _session(self, trust: Trust) -> BloqSession:
        session = self._sessions.get(trust)
        # Without a lock, which a forked child could inherit locked. If two are made at once, one is kept.
        return session or self._sessions.setdefault(trust, BloqSession(self._network, trust=trust))


def _await_shared(call: SharedCall[Any]) -> SharedOutcome:
    """Wait for the end of a shared call that another caller runs."""
    if call.runs_in_this_thread:
        return SharedOutcome.WOULD_DEADLOCK
    while not call.is_lost:
        try:
            call.future.exception(timeout=OWNER_CHECK_INTERVAL)
        except CancelledError:
            return SharedOutcome.ABANDONED
        except TimeoutError:
            continue
        return SharedOutcome.DONE
    call.abandon()
    return SharedOutcome.ABANDONED


def _mismatch(error: requests.RequestException) -> PinMismatch | None:
    reason = _reason(error)
    return reason if isinstance(reason, PinMismatch) else None


def _was_not_sent(error: requests.RequestException) -> bool:
    """Return whether there was no connection, so that the service cannot have acted."""
    # Errors that are also a ValueError are about the URL, the proxy's URL or a header.
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError | ValueError):
        return True
    reason = _reason(error)
    if isinstance(reason, urllib3.exceptions.SSLError):
        # Other TLS errors may also occur in the middle of a response.
        return any(isinstance(part, ssl.SSLCertVerificationError) for part in reason.args)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _reason(error: requests.RequestException) -> object:
    wrapped = error.args[0] if error.args else None
    return getattr(wrapped, "reason", None) or wrapped
