"""A shared token that one call is refused with: what becomes of that call, and of all others of the process."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.exceptions import BloqSharedTokenStale, BloqTokenRejected
from airflow_provider_bloq.flow.effects import Flow, Request, Response, RunShared, send
from tests.support.scripted_bloq import NODES, RotatingKeys, ScriptedBloq
from tests.support.shared_calls import PATIENCE, Join, calling
from tests.support.shared_slots import FakeStore

pytestmark = pytest.mark.logic

NODE = "https://node.example"
PAGE = Response(403, {"content-type": "text/html"}, b"<html>denied</html>")


@pytest.fixture
def reading(bloq: ScriptedBloq, member: SharedTokenProvider, reader: SharedTokenProvider) -> BearerAuth:
    """What signs the calls of a reader that has the token of a member; a node was named to it."""
    calling(bloq, member)
    calling(bloq, reader)
    bloq.sent.clear()
    origins = TrustedOrigins([Origin.of(NODES)])
    origins.add(Origin.of(NODE))
    return BearerAuth(reader, origins)


def test_a_reader_that_a_403_meets_keeps_its_token_and_waits_for_nobody(
    bloq: ScriptedBloq, store: FakeStore, reader: SharedTokenProvider, reading: BearerAuth
) -> None:
    reads = store.token.reads
    bloq.service_answers.append(PAGE)
    with pytest.raises(
        BloqTokenRejected, match=r"refuses \(403\) the access token, and no other one is shared"
    ):
        calling(bloq, reader, reading)
    assert (bloq.slept, store.token.reads) == ([], reads + 1)
    assert calling(bloq, reader, reading).status == 200
    assert store.token.reads == reads + 1


def test_a_reader_that_a_403_meets_takes_a_newer_token_where_there_is_one(
    bloq: ScriptedBloq, member: SharedTokenProvider, reader: SharedTokenProvider, reading: BearerAuth
) -> None:
    bloq.run(member.keep_fresh(1e6))
    bloq.service_answers.append(PAGE)
    assert calling(bloq, reader, reading).status == 200
    assert len({request.headers["Authorization"] for request in bloq.sent}) == 2


@pytest.mark.parametrize("url", [NODES, NODE])
def test_while_a_reader_s_call_waits_for_another_token_all_others_go_on(
    bloq: ScriptedBloq, reader: SharedTokenProvider, reading: BearerAuth, url: str
) -> None:
    others: list[int] = []

    def refused(request: Request) -> Flow[Response]:
        yield from send(request)
        return Response(401)

    def meanwhile(flow: Flow[Any]) -> Any:
        """Drive a flow, with another call of the process at each of its effects."""
        answer: Any = None
        while True:
            effect = flow.send(answer)
            if isinstance(effect, RunShared):
                return meanwhile(effect.flow)
            others.append(calling(bloq, reader, reading).status)
            answer = bloq._perform(effect)

    with pytest.raises(BloqSharedTokenStale, match="was refused"):
        meanwhile(reading.send(Request("GET", url), refused))
    assert len(others) > 5
    assert set(others) == {200}
    assert calling(bloq, reader, reading).status == 200


def test_a_node_s_word_alone_does_not_blame_the_broker(
    bloq: ScriptedBloq, reader: SharedTokenProvider, reading: BearerAuth
) -> None:
    begun = bloq.time
    bloq.service_answers.append(Response(401))
    with pytest.raises(BloqTokenRejected, match="no other one is shared"):
        calling(bloq, reader, reading, NODE)
    # It may be dead all the same: another one is waited for.
    assert bloq.time - begun == pytest.approx(PATIENCE)
    bloq.service_answers.append(Response(401))
    with pytest.raises(BloqSharedTokenStale):
        calling(bloq, reader, reading, NODES)


@pytest.mark.parametrize(
    "body", [b"jwt expired", b'"jwt expired"', b'{"code": "TokenExpired"}', b'{"message": "invalid token"}']
)
def test_a_403_that_speaks_of_the_token_is_waited_out_like_a_401(
    bloq: ScriptedBloq, reader: SharedTokenProvider, reading: BearerAuth, body: bytes
) -> None:
    bloq.service_answers.append(Response(403, body=body))
    with pytest.raises(BloqSharedTokenStale):
        calling(bloq, reader, reading)
    assert sum(bloq.slept) == pytest.approx(PATIENCE)


def test_members_that_make_a_forbidden_call_renew_once_each(
    bloq: ScriptedBloq, store: FakeStore, join: Join
) -> None:
    members = [join(RotatingKeys()) for _ in range(5)]
    for one in members:
        calling(bloq, one)
    grants, writes = len(bloq.grants), store.token.tries
    for one in members:
        bloq.service_answers.extend([PAGE] * 4)
        with pytest.raises(BloqTokenRejected):
            calling(bloq, one)
        bloq.service_answers.clear()
        assert calling(bloq, one).status == 200
    # The first renews; each of the others finds a newer one, with which it is refused as well.
    assert len(bloq.grants) == grants + 1
    assert store.token.tries == writes + 1
