"""How often the local service was asked for its nodes, and acting once it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from airflow_provider_bloq.testing.local import LocalBloq

__all__ = ["LISTS", "looks", "once_looked"]

#: The call by which all who wait for nodes look.
LISTS = "nodes GET /users/me/nodes"


def looks(service: LocalBloq) -> int:
    """Count how often the list of nodes was asked for."""
    return service.counters().calls.get(LISTS, 0)


def once_looked(service: LocalBloq, times: int, act: Callable[[], Any] = bool) -> Future[None]:
    """Act, in a thread of its own, as soon as the list of nodes was asked for so often."""
    acted: Future[None] = Future()
    pause = threading.Event()

    def wait() -> None:
        while looks(service) < times:
            pause.wait(0.02)
        try:
            act()
        except BaseException as error:
            acted.set_exception(error)
        else:
            acted.set_result(None)

    threading.Thread(target=wait, daemon=True).start()
    return acted
