"""What it costs that many tasks wait for one chain head: requests, time taken from the event loop, memory.

The service and the chain run in a process of their own, so that what is measured is the triggerer's part. Run it
with ``python -m benchmarks.polls [tasks] [seconds]``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import structlog

from airflow_provider_bloq.chains.conditions import BlockReached, RpcSubject
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.polling.serialization import condition_to_json
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.triggers.wait import BloqWaitTrigger

#: Seconds between two looks of each task.
INTERVAL = 1.0
#: How often the probe wants its turn, in seconds.
PROBED_EVERY = 0.001
#: A height that no chain reaches while this runs.
NEVER = 10**12


@dataclass
class Service:
    """The local service in its own process."""

    pipe: Connection
    node: dict[str, Any]

    def ask(self, what: str) -> Any:
        """Ask for the number of ``requests``, or for the fingerprint of a node by its id."""
        self.pipe.send(what)
        return self.pipe.recv()


def serve(pipe: Connection) -> None:
    """Run the service, and answer what is asked through the pipe, until it is told to end."""
    with LocalBloq(LocalBloqOptions(node_quota=None)) as bloq:
        account = bloq.create_account("team@example.com", "a fine password")
        keys = bloq.create_client_keys(account.id)
        connection = {
            "conn_type": "bloq",
            "host": bloq.accounts_url,
            "login": keys.client_id,
            "password": keys.client_secret,
            "extra": {"environment": "local", "nodes_url": bloq.nodes_url},
        }
        pipe.send((connection, bloq.service_id("eth")))
        while (asked := pipe.recv()) != "end":
            counters = bloq.counters()
            pipe.send(
                sum(counters.calls.values()) if asked == "requests" else bloq.node_fingerprint(str(asked))
            )


@contextmanager
def service() -> Iterator[Service]:
    """Start the service, define the connection to it, and create a node."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,))
    process.start()
    try:
        connection, service_id = pipe.recv()
        os.environ["AIRFLOW_CONN_BLOQ_DEFAULT"] = json.dumps(connection)
        node = BloqHook().nodes.create(service_id).public()
        running = Service(pipe, node)
        running.node["tls_fingerprint"] = running.ask(node["id"])
        yield running
    finally:
        pipe.send("end")
        process.join()


@asynccontextmanager
async def waiting(tasks: int, node: dict[str, Any]) -> AsyncIterator[None]:
    """Have so many triggers wait for a block that does not come."""
    condition = condition_to_json(BlockReached(RpcSubject.of(node), NEVER))

    async def wait() -> None:
        async for _ in BloqWaitTrigger("bloq_default", condition, poll_interval=INTERVAL).run():
            raise AssertionError("such a block cannot have come")

    running = []
    for _ in range(tasks):
        running.append(asyncio.create_task(wait()))
        # So does the triggerer between two of them.
        await asyncio.sleep(0)
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Probe:
    """Wants its turn on the event loop again and again; remembers how long it was kept from it.

    What other processes take from this one counts in by the wall clock, and does not by the thread's own.
    """

    def __init__(self) -> None:
        self._late = self._busy = 0.0

    async def run(self) -> None:
        """Look on until cancelled."""
        while True:
            due, worked = time.perf_counter() + PROBED_EVERY, time.thread_time()
            await asyncio.sleep(PROBED_EVERY)
            self._late = max(self._late, time.perf_counter() - due)
            self._busy = max(self._busy, time.thread_time() - worked)

    def take(self) -> str:
        """Tell the longest times since the last call."""
        told = f"{self._late * 1e3:.1f} ms ({self._busy * 1e3:.1f})"
        self._late = self._busy = 0.0
        return told


async def measure(tasks: int, seconds: float, running: Service) -> list[tuple[str, str]]:
    """Have them wait for so long, and look on."""
    # What is loaded once, however many wait.
    async with waiting(1, running.node):
        await asyncio.sleep(INTERVAL)
    # Whoever causes a full collection has it go through all that Airflow has loaded, which takes 0.1 s.
    gc.collect()
    gc.freeze()
    probe = Probe()
    probing = asyncio.create_task(probe.run())
    await asyncio.sleep(seconds / 2)
    idle = probe.take()
    async with waiting(tasks, running.node):
        await asyncio.sleep(INTERVAL)
        starting = probe.take()
        before, since = running.ask("requests"), time.perf_counter()
        probe.take()
        await asyncio.sleep(seconds)
        waited = probe.take()
        requests, lasted = running.ask("requests") - before, time.perf_counter() - since
    ending = probe.take()
    probing.cancel()
    rows = [("requests per interval", f"{requests * INTERVAL / lasted:.2f}")]
    for name, late in (("idle", idle), ("starting", starting), ("waiting", waited), ("ending", ending)):
        rows.append((f"longest block (CPU alone), {name}", late))
    return rows


async def weigh(tasks: int, running: Service) -> list[tuple[str, str]]:
    """Measure the memory that so many of them hold; slow, so that it is not done at the same time."""
    async with waiting(1, running.node):
        await asyncio.sleep(2 * INTERVAL)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    async with waiting(tasks, running.node):
        await asyncio.sleep(3 * INTERVAL)
        held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [("memory per waiting task", f"{(held - before) / tasks / 1024:.1f} KiB")]


def main() -> int:
    """Measure, and print a table."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    # The triggers log what they wait for as ever, but not to the screen.
    with open(os.devnull, "w") as nowhere, service() as running:
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(nowhere))
        rows = asyncio.run(measure(tasks, seconds, running))
        rows += asyncio.run(weigh(tasks, running))
    print(f"{tasks} tasks wait for one chain head, each looking every {INTERVAL:g} s")
    for name, value in rows:
        print(f"  {name:<36}{value:>20}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
