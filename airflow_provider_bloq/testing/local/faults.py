"""Faults to inject, and the choice of the one that strikes a request."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Literal

from airflow_provider_bloq.testing.local.errors import LocalBloqConfigurationError, LocalBloqNotFound

__all__ = [
    "ArmedFault",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "fault_from_json",
]


_SERVICES = ("accounts", "nodes", "rpc", "connect", "stream", "*")


class FaultKind(StrEnum):
    """How a request fails."""

    #: 429, with Retry-After if the fault has one. The request is not carried out.
    RATE_LIMIT = "rate_limit"
    #: An error of the given status in the usual shape. The request is not carried out.
    STATUS = "status"
    #: An HTML error page, as from a proxy in front of the service. The request is not carried out.
    HTML = "html"
    #: 403 ``LimitExceeded``. The request is not carried out.
    LIMIT_EXCEEDED = "limit_exceeded"
    #: The answer to an expired token, whatever the token. The request is not carried out.
    UNAUTHORIZED = "unauthorized"
    #: The connection is reset (TCP RST). The request is not carried out.
    RESET = "reset"
    #: No answer at all. The request is not carried out.
    STALL_HEADERS = "stall_headers"
    #: The request is carried out, and only half of the answer's body is sent.
    STALL_BODY = "stall_body"
    #: The request is carried out, and its answer is JSON cut off in the middle.
    TRUNCATED_JSON = "truncated_json"
    #: The request is carried out, and the connection is closed without an answer.
    LOST_RESPONSE = "lost_response"
    #: The request is carried out after a delay.
    DELAY = "delay"
    #: The service's clock jumps, then the request is carried out.
    CLOCK_JUMP = "clock_jump"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault to inject.

    :param kind: How the request fails.
    :param service: ``accounts``, ``nodes``, ``rpc`` (the nodes' own endpoints), ``connect``, ``stream``
        (of Connect; ``/socket.io/open`` is the path of a request that opens a connection) or ``*``.
    :param method: HTTP method, or ``*``.
    :param path: Path pattern of :mod:`fnmatch`, such as ``/users/me/nodes*``.
    :param times: Number of requests that it strikes; None for all until it is cleared.
    :param after: Number of matching requests that it lets pass first.
    :param status: Status of ``status`` and ``html``.
    :param code: Error code of ``status``.
    :param retry_after: Retry-After of 429 and 503 answers, in seconds; None for none.
    :param retry_after_form: Whether Retry-After is sent in seconds or as an HTTP date of the service's clock.
    :param seconds: Length of a delay or a clock jump.
    :raises LocalBloqConfigurationError: A field is invalid.
    """

    kind: FaultKind
    service: Literal["accounts", "nodes", "rpc", "connect", "stream", "*"] = "*"
    method: str = "*"
    path: str = "*"
    times: int | None = 1
    after: int = 0
    status: int = 503
    code: str = "InjectedFault"
    retry_after: float | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        problems = tuple(_problems(self))
        if problems:
            raise LocalBloqConfigurationError(problems)

    def matches(self, service: str, method: str, path: str) -> bool:
        """Return whether the fault is for this request."""
        return (
            self.service in ("*", service)
            and self.method.upper() in ("*", method)
            and fnmatchcase(path, self.path)
        )


def _problems(fault: Fault) -> Iterator[str]:
    if fault.kind not in set(FaultKind):
        yield f"kind must be one of {', '.join(FaultKind)}"
    if fault.service not in _SERVICES:
        yield f"service must be one of {', '.join(_SERVICES)}"
    if fault.times is not None and fault.times < 1:
        yield "times must be at least 1, or null for no end"
    if fault.after < 0:
        yield "after must not be negative"
    if not 200 <= fault.status <= 599:
        yield "status must be an HTTP status between 200 and 599"
    if fault.retry_after_form not in ("seconds", "date"):
        yield "retry_after_form must be seconds or date"


def fault_from_json(body: dict[str, Any]) -> Fault:
    """Read a fault from JSON whose keys are the fields of :class:`Fault`.

    :raises LocalBloqConfigurationError: A field is unknown, missing or invalid.
    """
    unknown = sorted(set(body) - {item.name for item in fields(Fault)})
    if unknown:
        raise LocalBloqConfigurationError([f"{name} is not a field of a fault" for name in unknown])
    try:
        return Fault(**{**body, "kind": FaultKind(body["kind"])})
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, LocalBloqConfigurationError):
            raise
        raise LocalBloqConfigurationError(
            [f"the fault cannot be read; kind must be one of {', '.join(FaultKind)}"]
        ) from error


@dataclass(slots=True)
class ArmedFault:
    """A fault in force, with its counts; ``released`` ends the stalls and delays that it causes."""

    id: str
    fault: Fault
    passed: int = 0
    struck: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it should."""
        return self.fault.times is not None and self.struck >= self.fault.times


class FaultPlan:
    """The faults in force, in the order in which they were added. Used on the event loop only."""

    def __init__(self) -> None:
        self._armed: dict[str, ArmedFault] = {}

    def add(self, fault: Fault) -> str:
        """Add a fault and return its id."""
        armed = ArmedFault(id=f"fault-{uuid.uuid4()}", fault=fault)
        self._armed[armed.id] = armed
        return armed.id

    def take(self, service: str, method: str, path: str) -> ArmedFault | None:
        """Return the first fault that strikes the request, and count it."""
        for armed in self._armed.values():
            if armed.spent or not armed.fault.matches(service, method, path):
                continue
            if armed.passed < armed.fault.after:
                armed.passed += 1
                continue
            armed.struck += 1
            return armed
        return None

    def listing(self) -> list[ArmedFault]:
        """Return all faults that have not been cleared, including spent ones."""
        return list(self._armed.values())

    def clear(self, fault_id: str | None = None) -> None:
        """Clear one fault or all, and end the stalls and delays that they cause.

        :raises LocalBloqNotFound: There is no such fault.
        """
        if fault_id is not None and fault_id not in self._armed:
            raise LocalBloqNotFound(f"fault {fault_id}")
        for name in [fault_id] if fault_id is not None else list(self._armed):
            self._armed.pop(name).released.set()
