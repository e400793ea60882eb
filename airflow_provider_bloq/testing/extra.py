"""Whether the extra ``testing`` is installed, and what to do where it is not."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

__all__ = ["EXTRA_REMEDY", "missing_of_the_extra"]

_DISTRIBUTION, _EXTRA = "airflow-provider-bloq", "testing"
EXTRA_REMEDY = f"pip install '{_DISTRIBUTION}[{_EXTRA}]'"


def missing_of_the_extra() -> list[str]:
    """Name what the extra asks for and this Python environment does not have, as pip would be told it.

    Nothing is named where the provider is used without being installed, as its requirements are not known then.
    """
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
