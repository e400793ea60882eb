"""What the API does with nodes and with clusters alike."""

from __future__ import annotations

import builtins
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_bloq.auth.flow import Flow, mask
from airflow_provider_bloq.clients.endpoint import Endpoint, Service
from airflow_provider_bloq.clients.models import STOPPED, Machine, Offer
from airflow_provider_bloq.clients.operation import operation
from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqApiError,
    BloqError,
    BloqNotFound,
    BloqUnavailable,
)

__all__ = ["MachinesApi"]

M = TypeVar("M", bound=Machine)


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
        return (yield from self._everything())

    @operation
    def get(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """Read one.

        :param id: Its id, as Bloq gave it.
        :raises BloqNotFound: There is none of this id in this account.
        """
        return (yield from self._one(id))

    @operation
    def delete(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Delete one for good. It stays in the list as ``stopped``; deleting that again is no error.

        :param id: Its id, as Bloq gave it.
        :raises BloqNotFound: There is none of this id in this account.
        """
        try:
            yield from self.call(self.DELETE, id=id)
        except BloqNotFound:
            # Also the answer to a second request, sent because the first one's answer was lost.
            everything = yield from self._everything()
            if not any(machine.id == id.strip() and machine.state == STOPPED for machine in everything):
                raise

    def create_once(self, body: dict[str, Any], *, serialised: bool) -> Flow[M]:
        """Create without an idempotency key: never twice, and never taking what another has made.

        :param body: What to create.
        :param serialised: Whether the caller sees to it that nobody else creates the same meanwhile.
            Only then can a lone new one be told to be this call's own where the answer is lost.
        :raises BloqAmbiguousCreate: The answer is lost, and it cannot be told what came of it.
        """
        before = {machine.id for machine in (yield from self._everything())}
        try:
            return (yield from self._read((yield from self.call(self.CREATE, body=body))))
        except BloqApiError as lost:
            if not self._may_have_created(lost):
                raise
            return (yield from self._found_again(lost, before, body, serialised=serialised))

    def _may_have_created(self, error: BloqApiError) -> bool:
        # A token that could not be had is an error of Accounts: its URL is another.
        if error.url not in (None, self.CREATE.url(self.url, {})):
            return False
        if isinstance(error, BloqUnavailable):
            return error.acted
        return error.status is not None and error.status < 400

    def _found_again(
        self, lost: BloqApiError, before: set[str], body: dict[str, Any], *, serialised: bool
    ) -> Flow[M]:
        try:
            everything = yield from self._everything()
        except BloqError as second:
            # Raised as it is, it would have the task retried, and that would create again.
            raise _unknown_outcome(lost, f"Nor could be looked for what came of it ({second}).") from lost
        new = [machine for machine in everything if machine.id not in before and _fits(machine, body)]
        if serialised and len(new) == 1:
            return new[0]
        ids = [machine.id for machine in new]
        found = (
            f"New since then and fitting: {', '.join(ids)}; nothing was deleted."
            if ids
            else "None that fits has appeared since, but it may still."
        )
        raise _unknown_outcome(lost, found, ids) from lost

    def _everything(self) -> Flow[builtins.list[M]]:
        items = _list_of(self.LIST, (yield from self.call(self.LIST)))
        machines = [self.MODEL.from_json(item) for item in items]
        yield from mask(*(machine.auth.password for machine in machines if machine.auth is not None))
        return machines

    def _one(self, id: str) -> Flow[M]:  # noqa: A002
        return (yield from self._read((yield from self.call(self.GET, id=id))))

    def _read(self, item: Any) -> Flow[M]:
        machine = self.MODEL.from_json(item)
        if machine.auth is not None:
            yield from mask(machine.auth.password)
        return machine


def _fits(machine: Machine, body: dict[str, Any]) -> bool:
    return (
        machine.state != STOPPED
        and machine.service in (None, body["serviceId"])
        and (machine.auth is None or machine.auth.type == body["authType"])
    )


def _unknown_outcome(
    lost: BloqApiError, found: str, candidates: list[str] | None = None
) -> BloqAmbiguousCreate:
    return BloqAmbiguousCreate(
        f"The answer to the create was lost ({lost}), and the API has no idempotency key. {found} Look which is "
        "yours and delete the others before you create again. Creates that run one at a time can be told apart: "
        "serialised=True.",
        candidates=candidates or (),
        status=lost.status,
        method=lost.method,
        url=lost.url,
    )


def _list_of(endpoint: Endpoint, answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise BloqUnavailable(
            f"{endpoint.method} {endpoint.path} gave something that is no list.", method=endpoint.method
        )
    return answer
