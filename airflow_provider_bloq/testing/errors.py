"""The error of everything that prepares or runs a local service for tests."""

from __future__ import annotations

from airflow_provider_bloq.exceptions import BloqError

__all__ = ["TestingSetupError"]


class TestingSetupError(BloqError):
    """A local service cannot be had or does not run on this machine.

    :param message: What went wrong.
    :param remedy: What the reader can do about it; None where nothing better than the message is known.
    """

    #: pytest takes a class whose name begins with "Test" for a collection of tests unless told.
    __test__ = False

    def __init__(self, message: str, remedy: str | None = None) -> None:
        self.remedy = remedy
        super().__init__(f"{message}\nRemedy: {remedy}" if remedy else message)
