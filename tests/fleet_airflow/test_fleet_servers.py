"""PostgreSQL and Redis as the Airflow with Celery has them: each serves whoever has its password, and ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import redis
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.support.postgres import LocalPostgres
from tests.support.redis_server import LocalRedis

# They may have to be brought first.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("servers")]


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield connection


def test_postgres_serves_whoever_has_its_password() -> None:
    with LocalPostgres() as server:
        url = server.url("postgresql+psycopg2")
        with connected(url) as connection:
            told = connection.execute(
                text("SELECT host(inet_server_addr()), current_setting('server_encoding')")
            )
            assert tuple(told.one()) == ("127.0.0.1", "UTF8")
        user, at, address = url.partition("@")
        guessed = f"{user.rpartition(':')[0]}:guessed{at}{address}"
        with pytest.raises(OperationalError, match="password authentication failed"), connected(guessed):
            pass


def test_postgres_ends_though_somebody_is_connected() -> None:
    with LocalPostgres() as server, connected(server.url("postgresql+psycopg2")) as connection:
        connection.execute(text("SELECT 1"))
        server.stop()
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    with pytest.raises(OperationalError, match="refused"), connected(server.url("postgresql+psycopg2")):
        pass


def test_redis_serves_whoever_has_its_password_and_ends() -> None:
    with LocalRedis() as server:
        with closing(redis.Redis.from_url(server.url)) as client:
            assert client.set("key", "value")
            assert client.get("key") == b"value"
        stranger = f"redis://{server.url.partition('@')[2]}"
        with closing(redis.Redis.from_url(stranger)) as client, pytest.raises(redis.AuthenticationError):
            client.get("key")
    with closing(redis.Redis.from_url(server.url)) as client, pytest.raises(redis.ConnectionError):
        client.get("key")


@pytest.mark.parametrize("kind", [LocalPostgres, LocalRedis])
def test_no_file_is_left(kind: type[LocalPostgres | LocalRedis]) -> None:
    with kind() as server:
        assert server._folder.is_dir()
    assert not server._folder.exists()
