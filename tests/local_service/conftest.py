"""What all tests of the local service share: a service to start, and a caller that has an account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.local_service.service_caller import Caller

Start = Callable[..., LocalBloq]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services with the options given; nothing runs behind their nodes unless asked for."""
    with ExitStack() as running:

        def started(**options: Any) -> LocalBloq:
            return running.enter_context(LocalBloq(LocalBloqOptions(**{"upstreams": {}, **options})))

        yield started


@pytest.fixture
def bloq(start: Start) -> LocalBloq:
    """A service with the default switches."""
    return start()


@pytest.fixture
def caller(bloq: LocalBloq) -> Caller:
    """An ordinary account of that service."""
    return Caller.of(bloq)
