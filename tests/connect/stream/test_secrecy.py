"""The token is in the query of the stream's URL. No log, error or repr contains it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.connect.stream import StreamEndpoint
from airflow_provider_bloq.exceptions import BloqApiError
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.stream.conftest import Serve, eager
from tests.connect.stream.waiting import NEVER, PATIENCE, paid_address, until, until_joined

pytestmark = pytest.mark.bitcoind

OPENED = "stream GET /socket.io/open"


def connection_faults() -> Iterator[Fault]:
    """All ways in which connecting fails."""
    endpoint: dict[str, Any] = {"service": "stream", "path": "/socket.io/open"}
    for kind in (FaultKind.RESET, FaultKind.LOST_RESPONSE, FaultKind.UNAUTHORIZED, FaultKind.RATE_LIMIT):
        yield Fault(kind=kind, times=None, **endpoint)
    for status in (400, 403, 404, 503):
        yield Fault(kind=FaultKind.STATUS, status=status, times=None, **endpoint)


def everything_in(error: BaseException) -> str:
    """Return the traceback, the text and the fields of an error and of its causes."""
    shown = ["".join(traceback.format_exception(error))]
    chain: BaseException | None = error
    while chain is not None:
        shown += [str(chain), repr(chain), repr(chain.args), repr(vars(chain))]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(shown)


def has_struck(bloq: LocalBloq, fault: str) -> bool:
    return bloq.faults_struck()[fault] > 0


async def error_of(endpoint: StreamEndpoint, token: str) -> BloqApiError:
    with pytest.raises(BloqApiError) as refused:
        async with asyncio.timeout(PATIENCE), endpoint.session(Secret(token), []):
            raise AssertionError("the connection was accepted")
    return refused.value


async def test_no_error_contains_the_token(serve: Serve) -> None:
    bloq = serve()
    async with BloqAsyncHook() as hook:
        token = await hook.get_access_token()
        endpoint = hook.connect("btc").stream.endpoint
        for fault in connection_faults():
            number = await asyncio.to_thread(bloq.add_fault, fault)
            assert token not in everything_in(await error_of(endpoint, token)), fault
            await asyncio.to_thread(bloq.clear_faults, number)
        await asyncio.to_thread(bloq.advance_clock, 3_601)
        assert token not in everything_in(await error_of(endpoint, token))
        await asyncio.to_thread(bloq.stop)
        assert token not in everything_in(await error_of(endpoint, token))


async def test_no_log_and_no_repr_contains_the_token(
    serve: Serve, bitcoin: Bitcoind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    bloq = serve()
    shown: list[object] = []
    async with BloqAsyncHook() as hook:
        client = eager(hook)
        # No long pauses.
        client.stream = replace(client.stream, sleep=lambda _: asyncio.sleep(0.01))
        tokens = [await hook.get_access_token()]
        async with (
            client.payments(paid_address(bitcoin), interval=NEVER) as feed,
            client.updates() as updates,
        ):
            await until_joined(bloq, 2)
            shown += [
                feed,
                updates,
                client,
                client.stream,
                client.stream.endpoint,
                vars(feed),
                vars(updates),
                feed.cursor,
            ]
            shown += [asyncio.all_tasks(), hook, vars(hook)]
            for fault in connection_faults():
                number = await asyncio.to_thread(bloq.add_fault, fault)
                await asyncio.to_thread(bloq.drop_streams)
                await until(partial(has_struck, bloq, number))
                await asyncio.to_thread(bloq.clear_faults, number)
                await until_joined(bloq, 2)
            tokens.append(await hook.get_access_token())
            opened = bloq.counters().calls[OPENED]
            await asyncio.to_thread(bloq.advance_clock, 3_601)
            await until(lambda: bloq.counters().calls[OPENED] >= opened + 2)
            tokens.append(await hook.get_access_token())
    assert len(set(tokens)) == 3
    assert "The stream at" in caplog.text
    assert all("stream" in bloq.where_seen(token) for token in tokens)
    for token in tokens:
        assert token not in caplog.text
        assert token not in repr(shown)
