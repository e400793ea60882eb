"""All that is shown of an error by who shows local variables, too: rich, Sentry, ``pytest -l``."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import FrameType

__all__ = ["chain_of", "everything_in", "frames_of"]


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and whatever it came from, also what is not printed (``from None``)."""
    known: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in known):
            continue
        known.append(one)
        yield one
        waiting += [one.__cause__, one.__context__]


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Give the frames that an error and its chain went through."""
    for one in chain_of(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            yield frame


def everything_in(error: BaseException, own: str) -> str:
    """Return texts, arguments and fields of an error and its chain, and the local variables of their frames.

    :param error: The error.
    :param own: File whose frames are left out: the test's own, which knows the secrets.
    """
    shown = ["".join(traceback.format_exception(error))]
    for one in chain_of(error):
        shown += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", {}))]
        # Errors of the HTTP libraries and of the decoder hold requests and bodies in such fields.
        shown += [repr(vars(part)) for part in vars(one).values() if hasattr(part, "__dict__")]
        shown.append(str(getattr(one, "doc", "")))
    for frame in frames_of(error):
        if frame.f_code.co_filename != own:
            shown += [
                f"{frame.f_code.co_qualname} {name} = {value!r}" for name, value in frame.f_locals.items()
            ]
    return "\n".join(shown)
