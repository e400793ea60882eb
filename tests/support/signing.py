"""Tokens without a service, and a session that signs with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider, GrantRefused, TokenReply
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.session import BearerRequestsAuth, BloqSession
from tests.support.drivers import blocking_driver
from tests.support.raw_server import RawConnection, SeenRequest

__all__ = ["FixedKeys", "Guard", "NumberedTokens", "Signed", "signing_session"]


class FixedKeys:
    """Client keys that do not change."""

    description = "a test"
    identity = ("test",)

    def load(self) -> KeyReading:
        return KeyReading(ClientKeys("id", Secret("secret")))

    async def aload(self) -> KeyReading:
        return self.load()

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass
class NumberedTokens:
    """A token endpoint that hands out ``token-1``, ``token-2``, ... and refuses when told to."""

    count: int = 0
    refuses: bool = False

    def mint(self, keys: ClientKeys, *, retry: bool) -> Flow[TokenReply]:
        yield from ()
        if self.refuses:
            raise GrantRefused(401)
        self.count += 1
        return TokenReply(Secret(f"token-{self.count}"))

    def refresh(self, refresh_token: Secret, *, retry: bool) -> Flow[TokenReply]:
        raise AssertionError("no refresh token was given")


@dataclass
class Guard:
    """A service that refuses the tokens it is told to."""

    refused: set[str] = field(default_factory=lambda: {"Bearer token-1"})
    status: int = 401
    body: bytes = b"jwt expired"

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        if request.authorization is None or request.authorization in self.refused:
            connection.reply(self.status, self.body)
        else:
            connection.reply(200, request.body)


@dataclass
class Signed:
    """A session that signs, and where its tokens come from."""

    tokens: NumberedTokens
    origins: TrustedOrigins
    session: BloqSession


@contextmanager
def signing_session() -> Iterator[Signed]:
    """Open a session with tokens of its own, which trusts no origin yet."""
    tokens, origins = NumberedTokens(), TrustedOrigins([])
    bearer = BearerAuth(ClientKeysTokenProvider(tokens, FixedKeys()), origins)
    driver = blocking_driver()
    with BloqSession(Network(), BearerRequestsAuth(lambda: bearer, driver.run)) as session:
        yield Signed(tokens, origins, session)
