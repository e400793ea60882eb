"""What the API does with nodes and with clusters alike."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_bloq.auth.flow import Flow, mask
from airflow_provider_bloq.clients.attempts import Order
from airflow_provider_bloq.clients.endpoint import Endpoint, Service
from airflow_provider_bloq.clients.models import STOPPED, Machine, Offer
from airflow_provider_bloq.clients.operation import operation
from airflow_provider_bloq.exceptions import BloqApiError, BloqUnavailable

__all__ = ["Listing", "MachinesApi"]

M = TypeVar("M", bound=Machine)

#: How a delete of what is stopped already may be answered: which it is, is not documented.
_OF_STOPPED = frozenset({400, 404, 409, 410})


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """All of the account at one moment.

    :param machines: Those that were deleted (``stopped``) included.
    :param served_at: The moment, in epoch seconds by the service's clock; None where it does not say.
    """

    machines: list[M]
    served_at: float | None


class MachinesApi(Service, Generic[M]):
    """The endpoints that nodes and clusters have in common.

    Every operation raises :class:`~airflow_provider_bloq.exceptions.BloqApiError` where the service
    answers with an error or not at all, and :class:`~airflow_provider_bloq.exceptions.BloqAuthError`
    where no usable token can be had.
    """

    CHAINS: ClassVar[Endpoint]
    SERVICES: ClassVar[Endpoint]
    LIST: ClassVar[Endpoint]
    CREATE: ClassVar[Endpoint]
    GET: ClassVar[Endpoint]
    DELETE: ClassVar[Endpoint]
    MODEL: type[M]

    @operation
    def chains(self) -> Flow[list[Offer]]:
        """List the chains, networks and software on offer."""
        return [Offer.from_json(item) for item in _list_of(self.CHAINS, (yield from self.call(self.CHAINS)))]

    @operation
    def services(self) -> Flow[list[Offer]]:
        """List the services on offer; their ids go to ``create``."""
        return [
            Offer.from_json(item) for item in _list_of(self.SERVICES, (yield from self.call(self.SERVICES)))
        ]

    @operation
    def list(self) -> Flow[builtins.list[M]]:
        """List all of the account, those that were deleted (``stopped``) included."""
        return (yield from self.listing()).machines

    @operation
    def get(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """Read one.

        :param id: Its id, as Bloq gave it.
        :raises BloqNotFound: There is none of this id in this account.
        """
        return (yield from self.one(id))

    @operation
    def delete(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Delete one for good. It stays in the list as ``stopped``; deleting that again is no error.

        :param id: Its id, as Bloq gave it.
        :raises BloqNotFound: There is none of this id in this account.
        """
        try:
            yield from self.call(self.DELETE, id=id)
        except BloqApiError as error:
            if error.status not in _OF_STOPPED:
                raise
            # Also the answer to a second request, sent because the first one's answer was lost.
            machines = (yield from self.listing()).machines
            if not any(machine.id == id.strip() and machine.state == STOPPED for machine in machines):
                raise

    def may_have_created(self, error: BloqApiError) -> bool:
        """Tell whether an error of :meth:`post` leaves open what came of it."""
        # A token that could not be had is an error of Accounts: its URL is another.
        if error.url not in (None, self.CREATE.url(self.url, {})):
            return False
        if isinstance(error, BloqUnavailable):
            return error.acted
        return error.status is not None and error.status < 400

    def post(self, order: Order, *, before_each: Callable[[], Flow[None]]) -> Flow[M]:
        """Ask for a new one, whatever was asked for before; see :class:`.creation.Creation`. A flow.

        :param order: What to create.
        :param before_each: Makes a flow to run right before each time that the request is sent.
        """
        answer = yield from self.ask(self.CREATE, {}, body=dict(order), before_each=before_each)
        return (yield from self._read(answer.content))

    def listing(self) -> Flow[Listing[M]]:
        """As :meth:`list`, with the time of the list. A flow."""
        answer = yield from self.ask(self.LIST, {})
        machines = [self.MODEL.from_json(item) for item in _list_of(self.LIST, answer.content)]
        yield from mask(*(machine.auth.password for machine in machines if machine.auth is not None))
        return Listing(machines, answer.served_at)

    def one(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """As :meth:`get`. A flow."""
        return (yield from self._read((yield from self.call(self.GET, id=id))))

    def _read(self, item: Any) -> Flow[M]:
        machine = self.MODEL.from_json(item)
        if machine.auth is not None:
            yield from mask(machine.auth.password)
        return machine


def _list_of(endpoint: Endpoint, answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise BloqUnavailable(
            f"{endpoint.method} {endpoint.path} gave something that is no list.", method=endpoint.method
        )
    return answer
