"""From one description of a call to a blocking and an awaitable method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from airflow_provider_bloq.auth.flow import Flow

__all__ = ["AsyncRunner", "BlockingRunner", "RunsAsync", "RunsBlocking", "operation"]

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")


class BlockingRunner(Protocol):
    """Drives a flow to its end with blocking calls."""

    def __call__(self, flow: Flow[T], /) -> T:
        """Drive it."""


class AsyncRunner(Protocol):
    """Drives a flow to its end on the running event loop."""

    def __call__(self, flow: Flow[T], /) -> Coroutine[Any, Any, T]:
        """Drive it."""


class RunsBlocking:
    """Mixed into a description, makes a client whose operations block.

    :param run: Drives the operations.
    """

    def __init__(self, run: BlockingRunner, **description: Any) -> None:
        super().__init__(**description)
        self.run = run


class RunsAsync:
    """Mixed into a description, makes a client whose operations are awaited.

    :param run: Drives the operations.
    """

    def __init__(self, run: AsyncRunner, **description: Any) -> None:
        super().__init__(**description)
        self.run = run


class operation(Generic[S, P, T]):  # noqa: N801 - a decorator, written as one
    """Makes a flow method callable: on a blocking client it returns, on an async one it is awaited.

    Inside other flows it is used as ``yield from Description.name.flow(self, ...)``.
    """

    def __init__(self, flow: Callable[Concatenate[S, P], Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> operation[S, P, T]: ...

    @overload
    def __get__(self, client: RunsBlocking, owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, client: RunsAsync, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self.flow)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.run(self.flow(client, *args, **kwargs))

        return call
