"""The error of the test kit, and the check for its extra."""

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
    """A local service is not available or does not run on this machine.

    :param message: What went wrong.
    :param remedy: What the user can do about it; None if the message says it all.
    """

    #: Keeps pytest from collecting a class whose name begins with "Test".
    __test__ = False

    def __init__(self, message: str, remedy: str | None = None) -> None:
        self.remedy = remedy
        super().__init__(f"{message}\nRemedy: {remedy}" if remedy else message)


_DISTRIBUTION, _EXTRA = "airflow-provider-bloq", "testing"
EXTRA_REMEDY = f"pip install '{_DISTRIBUTION}[{_EXTRA}]'"


def missing_of_the_extra() -> list[str]:
    """Return the requirements of the extra that this Python environment does not meet.

    The list is empty if the provider is used without being installed: its requirements are then unknown.
    """
    # Imported here: the error is also raised in environments without packaging.
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
