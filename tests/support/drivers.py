"""Both drivers behind one way to call them, so that a test can hold for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.effects import Flow, Response
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.sync_driver import SyncDriver

__all__ = ["DRIVERS", "PATIENT", "DriverKind", "SendOnce", "awaiting_driver", "blocking_driver", "run_to_end"]

T = TypeVar("T")

DriverKind = Literal["blocking", "awaiting"]
#: The fixture that sends requests with one driver of either kind and gives the last response.
SendOnce = Callable[..., Response]
DRIVERS: tuple[DriverKind, ...] = ("blocking", "awaiting")

#: Long enough for a busy machine, where nothing is meant to time out.
PATIENT = Network(timeout=30.0)


def blocking_driver(network: Network = PATIENT, mask: Callable[[str], None] | None = None) -> SyncDriver:
    return SyncDriver(network, mask=mask or _masking_nothing)


def awaiting_driver(network: Network = PATIENT, mask: Callable[[str], None] | None = None) -> AsyncDriver:
    async def amask(secret: str) -> None:
        (mask or _masking_nothing)(secret)

    return AsyncDriver(network, mask=amask)


def run_to_end(
    kind: DriverKind,
    *flows: Callable[[], Flow[Any]],
    network: Network = PATIENT,
    mask: Callable[[str], None] | None = None,
) -> list[Any]:
    """Run flows one after the other with one driver of the kind, and close it."""
    if kind == "blocking":
        driver = blocking_driver(network, mask)
        try:
            return [driver.run(flow()) for flow in flows]
        finally:
            driver.close()
    return asyncio.run(_run_on_loop(flows, awaiting_driver(network, mask)))


async def _run_on_loop(flows: tuple[Callable[[], Flow[Any]], ...], driver: AsyncDriver) -> list[Any]:
    try:
        return [await driver.run(flow()) for flow in flows]
    finally:
        await driver.close()


def _masking_nothing(_: str) -> None:
    """Nothing logs here."""
