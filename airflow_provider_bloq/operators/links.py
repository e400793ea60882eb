"""Links that Airflow shows beside a task: to the file of its result, and to what its error means."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.operators._lineage import StoredFile

__all__ = [
    "LINKS",
    "BloqErrorLink",
    "BloqResultLink",
    "error_page",
    "file_page",
]


#: The page of the site of this documentation that has all errors.
_ERRORS = "docs/reference/exceptions.html"


class BloqErrorLink(BaseOperatorLink):
    """Leads to what the class of the error means, in the documentation at ``[bloq] docs_url``.

    Empty where the task has not failed by an error of this provider, or there is no ``docs_url``.
    """

    name = "About the error"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the page of the error that the task has just failed with.

        :param operator: The task.
        :param ti_key: What runs it. Airflow has links made where the task ran, right after it.
        """
        context_of = getattr(ti_key, "get_template_context", None)
        error = context_of().get("exception") if context_of else None
        return error_page(error, _docs_url())


class BloqResultLink(BaseOperatorLink):
    """Leads to the file that the task's result went to. Empty where it went to XCom."""

    name = "Result file"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where the file can be looked at.

        :param operator: The task.
        :param ti_key: What runs it.
        """
        stored = getattr(operator, "stored_result", None)
        return file_page(stored) if isinstance(stored, StoredFile) else ""


def error_page(error: object, docs_url: str) -> str:
    """Return the URL of what an error's class means; empty for errors of others, and without documentation.

    :param error: The error, or None.
    :param docs_url: Where the documentation is.
    """
    if not docs_url or not isinstance(error, BloqError):
        return ""
    name = error.summary()["error"]
    return f"{docs_url.rstrip('/')}/{_ERRORS}#airflow_provider_bloq.exceptions.{name}"


def file_page(file: StoredFile) -> str:
    """Return the URL at which a browser shows a file; its own URL where no such page is known.

    A file on S3 is looked for at AWS, though it may be in a store of another maker with the same interface.

    :param file: The file.
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


#: The links of all tasks. Airflow writes an XCom for each whenever a task has run, so there are none in vain.
LINKS: tuple[BaseOperatorLink, ...] = (BloqErrorLink(),) if _docs_url() else ()
