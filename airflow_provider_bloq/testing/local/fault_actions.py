"""Applies faults to requests."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import token_expired
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.clock import http_date
from airflow_provider_bloq.testing.local.faults import ArmedFault, Fault, FaultKind
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = [
    "NoResponse",
    "apply_fault",
]


# SO_LINGER with a timeout of zero: closing the socket sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class NoResponse(web.Response):
    """Stands for an answer that was not sent, or not completely."""


async def apply_fault(
    armed: ArmedFault, request: web.Request, backend: Backend, proceed: Callable[[], Awaitable[web.Response]]
) -> web.Response:
    """Answer a request that a fault strikes.

    :param armed: The fault.
    :param proceed: Handles the request as if there were no fault.
    :raises ApiProblem: The fault is an error answer.
    """
    fault = armed.fault
    match fault.kind:
        case FaultKind.RATE_LIMIT:
            raise ApiProblem(
                429, "TooManyRequests", "Too many requests", headers=_retry_after(fault, backend)
            )
        case FaultKind.STATUS:
            raise ApiProblem(
                fault.status, fault.code, "An injected fault", headers=_retry_after(fault, backend)
            )
        case FaultKind.LIMIT_EXCEEDED:
            raise ApiProblem(403, "LimitExceeded", "The maximum number of simultaneous nodes is reached")
        case FaultKind.UNAUTHORIZED:
            raise token_expired(backend.options)
        case FaultKind.HTML:
            return _html_page(fault.status)
        case FaultKind.RESET:
            return _reset(request)
        case FaultKind.STALL_HEADERS:
            await armed.released.wait()
            return _close(request)
        case FaultKind.STALL_BODY:
            return await _stall_in_body(request, await proceed(), armed)
        case FaultKind.TRUNCATED_JSON:
            return _truncate(await proceed())
        case FaultKind.LOST_RESPONSE:
            await proceed()
            return _close(request)
        case FaultKind.DELAY:
            await _wait(armed.released, fault.seconds)
            return await proceed()
        case FaultKind.CLOCK_JUMP:
            backend.clock.advance(fault.seconds)
            return await proceed()


def _retry_after(fault: Fault, backend: Backend) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after_form == "date":
        return {"Retry-After": http_date(backend.clock.now() + fault.retry_after)}
    return {"Retry-After": f"{fault.retry_after:g}"}


def _html_page(status: int) -> web.Response:
    page = f"<html><head><title>{status} Error</title></head><body><h1>{status} Error</h1></body></html>\n"
    return web.Response(status=status, text=page, content_type="text/html")


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        connection: socket.socket | None = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()
    return NoResponse()


def _close(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return NoResponse()


def _truncate(answer: web.Response) -> web.Response:
    return web.Response(status=_status_with_body(answer), body=_half(answer), content_type="application/json")


async def _stall_in_body(request: web.Request, answer: web.Response, armed: ArmedFault) -> web.Response:
    half = _half(answer)
    stalled = web.StreamResponse(
        status=_status_with_body(answer), headers={"Content-Type": "application/json"}
    )
    stalled.content_length = 2 * len(half)
    await stalled.prepare(request)
    await stalled.write(half)
    await armed.released.wait()
    return _close(request)


def _half(answer: web.Response) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else b""
    return body[: len(body) // 2] or b'{"id": "'


def _status_with_body(answer: web.Response) -> int:
    # An answer of 204 has no body that could be broken.
    return 200 if answer.status == 204 else answer.status


async def _wait(released: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(released.wait(), seconds)
    except TimeoutError:
        return
