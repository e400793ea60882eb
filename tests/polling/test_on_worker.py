"""A poll on the worker is given up if the client would sleep beyond the deadline."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.exceptions import BloqRateLimited, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow, Sleep, emit, sleep
from airflow_provider_bloq.flow.events import Event, held_back
from airflow_provider_bloq.polling.on_worker import before_deadline
from tests.support.scripted_bloq import ScriptedBloq

pytestmark = pytest.mark.logic


def pausing(seconds: float, *, closed: Callable[[], object] = bool, event: Event | None = None) -> Flow[str]:
    """A look of two requests with a pause in between."""
    try:
        if event is not None:
            yield from emit(event)
        yield from sleep(seconds)
        return "seen"
    finally:
        closed()


def test_a_pause_that_ends_in_time_is_made() -> None:
    world = ScriptedBloq(time=100.0)
    assert world.run(before_deadline(pausing(20.0), 120.0, world.clock)) == "seen"
    assert world.slept == [20.0]


def test_one_that_would_not_ends_the_look() -> None:
    for event, error, asked in [
        (held_back(20.1, by_service=True), BloqRateLimited, 20.1),
        (held_back(20.1, by_service=False), BloqUnavailable, None),
        (None, BloqUnavailable, None),
    ]:
        world = ScriptedBloq(time=100.0)
        closed: list[bool] = []
        look = pausing(20.1, closed=lambda closed=closed: closed.append(True), event=event)
        with pytest.raises(error) as given_up:
            world.run(before_deadline(look, 120.0, world.clock))
        assert getattr(given_up.value, "retry_after", None) == asked
        assert given_up.value.retryable
        assert world.slept == []
        assert closed == [True]


def test_after_the_deadline_a_look_that_needs_no_pause_goes_through() -> None:
    world = ScriptedBloq(time=100.0)
    assert world.run(before_deadline(pausing(0.0), 100.0, world.clock)) == "seen"


def test_errors_reach_the_look_itself() -> None:
    def careful() -> Flow[str]:
        try:
            yield Sleep(1.0)
        except BloqUnavailable:
            return "borne"
        return "seen"

    look = before_deadline(careful(), 120.0, lambda: 100.0)
    assert isinstance(next(look), Sleep)
    with pytest.raises(StopIteration) as end:
        look.throw(BloqUnavailable("away"))
    assert end.value.value == "borne"
