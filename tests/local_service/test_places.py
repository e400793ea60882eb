"""Addresses for nodes are free when they are taken, and stay so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from airflow_provider_bloq.testing.local.listener import BoundAddress, NoFreeAddress, bind, bind_address


@pytest.fixture
def everywhere() -> Iterator[int]:
    """A port that another server listens on, on all addresses."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port that nobody listens on."""
    with closing(bind("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def _give_up(place: BoundAddress) -> None:
    for bound in place.sockets.values():
        bound.close()


def test_a_place_is_a_loopback_address_with_all_its_ports(free: int) -> None:
    place = bind_address(free, (8080,))
    assert place.address == place.ip
    assert place.ip.startswith("127.")
    assert place.ip != "127.0.0.1"
    assert {bound.getsockname() for bound in place.sockets.values()} >= {(place.ip, free)}
    _give_up(place)


def test_a_place_cannot_be_taken_again_before_anybody_connects(free: int) -> None:
    place = bind_address(free)
    with pytest.raises(OSError, match="in use"):
        bind(place.ip, free)
    _give_up(place)


def test_a_port_that_is_taken_everywhere_is_a_clear_error(everywhere: int) -> None:
    with pytest.raises(NoFreeAddress, match=f"port {everywhere} is not free at any"):
        bind_address(everywhere)


def test_an_extra_port_that_is_taken_everywhere_is_done_without(free: int, everywhere: int) -> None:
    place = bind_address(free, (everywhere,))
    assert list(place.sockets) == [free]
    _give_up(place)


def test_without_separate_addresses_the_port_is_in_the_address(free: int) -> None:
    place = bind_address(free, own_ip=False)
    assert place.address == f"127.0.0.1:{place.sockets[free].getsockname()[1]}"
    _give_up(place)
