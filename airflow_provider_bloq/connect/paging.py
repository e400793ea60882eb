"""Iterating over paginated lists, including those that change while they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from airflow_provider_bloq.exceptions import BloqListShifted
from airflow_provider_bloq.flow.effects import Flow, RunsAsync, RunsBlocking

__all__ = [
    "NumberedPages",
    "OffsetPages",
    "Page",
    "Paginator",
    "paginated",
]


S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """One page of a list."""

    @property
    def items(self) -> tuple[T_co, ...]:
        """The items on this page."""

    @property
    def total(self) -> int:
        """The length of the whole list: its pages if they are numbered, else its items."""


class Paginator(Protocol[T_co]):
    """Reads a list page by page."""

    def next_items(self) -> Flow[tuple[T_co, ...]]:
        """Read the next items; a flow. An empty tuple marks the end of the list."""
        ...


class NumberedPages(Generic[T]):
    """Reads a list that has numbered pages and does not change, such as the transactions of a block.

    :param read: Returns a flow that reads the page with the given number, counted from 0.
    """

    def __init__(self, read: Callable[[int], Flow[Page[T]]]) -> None:
        self._read = read
        self._next = 0
        self._count = 1

    def next_items(self) -> Flow[tuple[T, ...]]:
        while self._next < self._count:
            page = yield from self._read(self._next)
            self._next += 1
            self._count = page.total
            if page.items:
                return page.items
        return ()


class OffsetPages(Generic[T]):
    """Reads a list that has its newest item first and may change meanwhile, without missing or repeating items.

    Items added or removed at the front shift all others. Each page therefore starts with the last item already
    returned, which must still be there. Items added after the first page was read are not returned. Any other
    change to the items already returned raises an error.

    :param read: Returns a flow that reads from one offset (inclusive) to another (exclusive).
    :param key: Returns the unique key of an item.
    :param first: Offset of the first item to return, from 0; greater than 0 to resume an interrupted iteration.
    :param size: Items to read at once, at least 2.
    :param version: Returns what determines an item's position, such as its block. Two changes may cancel each
        other out, so that the last item is found at the same offset although other items passed it. Comparing
        its version reveals that.
    """

    def __init__(
        self,
        read: Callable[[int, int], Flow[Page[T]]],
        key: Callable[[T], str],
        first: int,
        size: int,
        version: Callable[[T], Hashable] = lambda _: None,
    ) -> None:
        self._read = read
        self._key = key
        self._size = size
        self._version = version
        self._returned: set[str] = set()
        self._last: tuple[str, Hashable] | None = None
        self._total: int | None = None
        #: Current offset of the next item to return.
        self.offset = first

    def next_items(self) -> Flow[tuple[T, ...]]:
        """Read the next items; a flow. An empty tuple marks the end of the list.

        :raises BloqListShifted: Items that were already returned have changed.
        """
        if self._total is not None and self.offset >= self._total:
            return ()
        overlap = 0 if self._last is None else 1
        page = yield from self._read(self.offset - overlap, self.offset - overlap + self._size)
        added = 0 if self._total is None else page.total - self._total
        if overlap and not self._continues(page) and added > 0:
            # If nothing else changed, the new items are at the front.
            self.offset += added
            page = yield from self._read(self.offset - overlap, self.offset - overlap + self._size)
        items = page.items[overlap:]
        keys = [self._key(item) for item in items]
        if (
            (overlap and not self._continues(page))
            or not self._returned.isdisjoint(keys)
            or len(set(keys)) != len(keys)
            or (not items and self.offset < page.total)
        ):
            raise BloqListShifted(
                f"The list changed while it was read, after {len(self._returned)} items. Start over.",
                given=len(self._returned),
            )
        self._returned.update(keys)
        self._last = self._identity(items[-1]) if items else self._last
        self._total = page.total
        self.offset += len(items)
        return items

    def _continues(self, page: Page[T]) -> bool:
        return bool(page.items) and self._identity(page.items[0]) == self._last

    def _identity(self, item: T) -> tuple[str, Hashable]:
        return self._key(item), self._version(item)


class paginated(Generic[S, P, T]):  # noqa: N801 - a decorator, written as one
    """Turns a method that returns a paginator into an iterator over the items; on an async client, an async one.

    Inside flows use ``pages = Api.name.paginator(self, ...)`` and ``yield from pages.next_items()``.
    """

    def __init__(self, paginator: Callable[Concatenate[S, P], Paginator[T]]) -> None:
        self.paginator = paginator
        self.__doc__ = paginator.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> paginated[S, P, T]: ...

    @overload
    def __get__(self, client: RunsBlocking, owner: type) -> Callable[P, Iterator[T]]: ...

    @overload
    def __get__(self, client: RunsAsync, owner: type) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        iterate = _aiterate if isinstance(client, RunsAsync) else _iterate
        return lambda *args, **kwargs: iterate(client, self.paginator(client, *args, **kwargs))


def _iterate(client: RunsBlocking, pages: Paginator[T]) -> Iterator[T]:
    while items := client.run(pages.next_items()):
        yield from items


async def _aiterate(client: RunsAsync, pages: Paginator[T]) -> AsyncIterator[T]:
    while items := await client.run(pages.next_items()):
        for item in items:
            yield item
