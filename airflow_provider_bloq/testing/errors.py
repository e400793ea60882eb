"""The error of everything that prepares or runs a local service for tests."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from airflow_provider_bloq.exceptions import BloqError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "EXTRA_REMEDY",
    "TestingSetupError",
    "missing_of_the_extra",
]


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


_DISTRIBUTION, _EXTRA = "airflow-provider-bloq", "testing"
EXTRA_REMEDY = f"pip install '{_DISTRIBUTION}[{_EXTRA}]'"


def missing_of_the_extra() -> list[str]:
    """Name what the extra asks for and this Python environment does not have, as pip would be told it.

    Nothing is named where the provider is used without being installed, as its requirements are not known then.
    """
    # The error itself is also raised in environments without packaging.
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in metadata.requires(_DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return []
    return [
        f"{wanted.name}{wanted.specifier}"
        for wanted in requirements
        if _is_of_the_extra(wanted) and not _is_installed(wanted)
    ]


def _is_of_the_extra(wanted: Requirement) -> bool:
    marker = wanted.marker
    return marker is not None and marker.evaluate({"extra": _EXTRA}) and not marker.evaluate({"extra": ""})


def _is_installed(wanted: Requirement) -> bool:
    try:
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False
