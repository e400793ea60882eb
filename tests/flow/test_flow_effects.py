"""Effects that are no requests: both drivers carry them out alike."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.flow.effects import Flow, mask, run_blocking
from tests.support.drivers import DRIVERS, DriverKind, blocking_driver, run_to_end


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_blocking_call_gives_its_result_and_its_error(kind: DriverKind) -> None:
    def refused() -> Flow[str]:
        try:
            yield from run_blocking(partial(int, "no number"))
        except ValueError as error:
            return str(error)
        return "accepted"

    results = run_to_end(kind, lambda: run_blocking(partial(int, "7")), refused)

    assert results[0] == 7
    assert "no number" in results[1]


def test_a_blocking_call_leaves_the_thread_of_the_event_loop_alone() -> None:
    (worked_in,) = run_to_end("awaiting", lambda: run_blocking(threading.get_ident))

    assert worked_in != threading.get_ident()


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_secret_that_is_read_again_and_again_is_masked_once(kind: DriverKind) -> None:
    masked: list[str] = []
    password, other = Secret("the-password"), Secret("another-password")

    run_to_end(kind, lambda: mask(password), lambda: mask(password, other, None), mask=masked.append)

    assert masked == ["the-password", "another-password"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_masks_for_itself_what_its_parent_has_masked() -> None:
    seen, to_parent = os.pipe()
    driver = blocking_driver(mask=lambda secret: os.write(to_parent, f"{secret}\n".encode()) and None)
    driver.run(mask(Secret("the-password")))

    child = os.fork()
    if not child:
        driver.run(mask(Secret("the-password")))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(to_parent)

    with os.fdopen(seen) as lines:
        assert lines.read() == "the-password\n" * 2
