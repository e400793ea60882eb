"""A walk through a list that is given in parts and may change meanwhile: nothing is missed or given twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from airflow_provider_bloq.exceptions import BloqListShifted
from airflow_provider_bloq.flow.effects import Flow, RunsAsync, RunsBlocking

__all__ = [
    "PageWalk",
    "Part",
    "Stepping",
    "Walk",
    "walking",
]


S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a list.

    :param items: What stands there.
    :param total: How long the whole list is at this moment.
    """

    items: tuple[T, ...]
    total: int


class Stepping(Protocol[T_co]):
    """What goes through a list step by step."""

    def step(self) -> Flow[tuple[T_co, ...]]:
        """Give the next items; a flow. None left: there are no further ones."""
        ...


class PageWalk(Generic[T]):
    """Goes through a list that is given by pages and does not change, such as what is in a block.

    :param read: Makes a flow that reads the page of a number, from 0; its ``total`` counts the pages.
    """

    def __init__(self, read: Callable[[int], Flow[Part[T]]]) -> None:
        self._read = read
        self._page = 0
        self._pages = 1

    def step(self) -> Flow[tuple[T, ...]]:
        """See :meth:`Stepping.step`."""
        while self._page < self._pages:
            part = yield from self._read(self._page)
            self._page += 1
            self._pages = part.total
            if part.items:
                return part.items
        return ()


class Walk(Generic[T]):
    """Goes through a list, the newest item of which comes first.

    Items that come or go in front of the place reached move all others. So each part is read from the last item
    that was given, which must still stand there. Items that came in front after the walk began are not part of
    it. Any other change that touches what was given ends it with an error: then begin anew.

    :param read: Makes a flow that reads the part from one place (included) to another (not included).
    :param name: Names an item, differently from all others.
    :param first: Place of the first item to give, from 0; to take up a walk that was broken off.
    :param size: Items to read at once, at least 2.
    :param standing: Tells by what an item has its place in the list, such as the block that it is in. Two
        changes may make up for one another, so that the last item is found at its place again although others
        went past it; they cannot where this tells of either.
    """

    def __init__(
        self,
        read: Callable[[int, int], Flow[Part[T]]],
        name: Callable[[T], str],
        first: int,
        size: int,
        standing: Callable[[T], Hashable] = lambda _: None,
    ) -> None:
        self._read = read
        self._name = name
        self._size = size
        self._standing = standing
        self._given: set[str] = set()
        self._last: tuple[str, Hashable] | None = None
        self._total: int | None = None
        #: Place of the next item to give, as the list stands at present.
        self.place = first

    def step(self) -> Flow[tuple[T, ...]]:
        """Give the next items; a flow. None left: there are no further ones.

        :raises BloqListShifted: What was given no longer stands as it stood.
        """
        if self._total is not None and self.place >= self._total:
            return ()
        overlap = 0 if self._last is None else 1
        part = yield from self._read(self.place - overlap, self.place - overlap + self._size)
        came = 0 if self._total is None else part.total - self._total
        if overlap and not self._continues(part) and came > 0:
            # What came stands in front, if it is all that has changed.
            self.place += came
            part = yield from self._read(self.place - overlap, self.place - overlap + self._size)
        if overlap and not self._continues(part):
            raise self._shifted()
        items = part.items[overlap:]
        names = [self._name(item) for item in items]
        if not self._given.isdisjoint(names) or len(set(names)) != len(names):
            raise self._shifted()
        if not items and self.place < part.total:
            raise self._shifted()
        self._given.update(names)
        self._last = self._place_of(items[-1]) if items else self._last
        self._total = part.total
        self.place += len(items)
        return items

    def _continues(self, part: Part[T]) -> bool:
        return bool(part.items) and self._place_of(part.items[0]) == self._last

    def _place_of(self, item: T) -> tuple[str, Hashable]:
        return self._name(item), self._standing(item)

    def _shifted(self) -> BloqListShifted:
        return BloqListShifted(
            f"The list changed while it was read, after {len(self._given)} items: begin anew.",
            given=len(self._given),
        )


class walking(Generic[S, P, T]):  # noqa: N801 - a decorator, written as one
    """Makes what begins a walk an iterator over its items: on an async client an async one.

    Inside flows use ``walk = Description.name.begin(self, ...)`` and ``yield from walk.step()``.
    """

    def __init__(self, begin: Callable[Concatenate[S, P], Stepping[T]]) -> None:
        self.begin = begin
        self.__doc__ = begin.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> walking[S, P, T]: ...

    @overload
    def __get__(self, client: RunsBlocking, owner: type) -> Callable[P, Iterator[T]]: ...

    @overload
    def __get__(self, client: RunsAsync, owner: type) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        iterate = _aiterate if isinstance(client, RunsAsync) else _iterate
        return lambda *args, **kwargs: iterate(client, self.begin(client, *args, **kwargs))


def _iterate(client: RunsBlocking, walk: Stepping[T]) -> Iterator[T]:
    while items := client.run(walk.step()):
        yield from items


async def _aiterate(client: RunsAsync, walk: Stepping[T]) -> AsyncIterator[T]:
    while items := await client.run(walk.step()):
        for item in items:
            yield item
