"""Links on a task's page in Airflow: to the file of its result, and to the documentation of its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

from airflow_provider_bloq.exceptions import BloqError

if TYPE_CHECKING:
    from airflow_provider_bloq.operators._lineage import StoredFile

__all__ = [
    "LINKS",
    "BloqErrorLink",
    "BloqResultLink",
    "error_page",
    "file_page",
]


#: Page of the documentation with all errors.
_ERRORS = "docs/reference/exceptions.html"


class BloqErrorLink(BaseOperatorLink):
    """Link to the error's class in the documentation at ``[bloq] docs_url``.

    Empty without ``docs_url``, and unless the task failed with an error of this provider.
    """

    name = "About the error"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        # Airflow calls this in the process of the task, right after it ran.
        context_of = getattr(ti_key, "get_template_context", None)
        error = context_of().get("exception") if context_of else None
        return error_page(error, _docs_url())


class BloqResultLink(BaseOperatorLink):
    """Link to the file with the task's result. Empty if the result is in XCom."""

    name = "Result file"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        stored = getattr(operator, "stored_result", None)
        return "" if stored is None else file_page(stored)


def error_page(error: object, docs_url: str) -> str:
    """Return the URL of an error's documentation; empty for other errors, and if there is no documentation."""
    if not docs_url or not isinstance(error, BloqError):
        return ""
    name = error.summary()["error"]
    return f"{docs_url.rstrip('/')}/{_ERRORS}#airflow_provider_bloq.exceptions.{name}"


def file_page(file: StoredFile) -> str:
    """Return the URL of a file's page in the console of AWS or Google Cloud; for other stores, the file's own URL.

    ``s3`` is taken to be AWS, although other stores have the same interface.
    """
    key = quote(file.name)
    match file.namespace.partition("://"):
        case (("s3" | "s3a"), _, bucket):
            return f"https://console.aws.amazon.com/s3/object/{bucket}?prefix={key}"
        case (("gs" | "gcs"), _, bucket):
            return f"https://console.cloud.google.com/storage/browser/_details/{bucket}/{key}"
    return file.uri


def _docs_url() -> str:
    return str(conf.get("bloq", "docs_url", fallback="") or "")


#: The links of all tasks. Airflow writes an XCom for each after every run, so a link that is always empty is left out.
LINKS: tuple[BaseOperatorLink, ...] = (BloqErrorLink(),) if _docs_url() else ()
