"""Results of operators: filters for them, and files on object storage for large ones.

A filter is a JMESPath expression, or a function as ``package.module:function``. It is given as text, since Airflow
stores and shows a task's arguments. No JMESPath expression looks like the latter, so the two cannot be confused.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqResultTooLarge
from airflow_provider_bloq.operators._base import BloqOperator
from airflow_provider_bloq.operators.links import LINKS, BloqResultLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, ObjectStoragePath

    from airflow_provider_bloq.operators._lineage import StoredFile

__all__ = [
    "RESULT_LIMIT",
    "BloqStoringOperator",
    "Filter",
    "check_filter",
    "destination_of",
    "load_filter",
    "returned",
]


Filter: TypeAlias = Callable[[Any], Any]

_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
#: Compiled on use: compiling is slow, and DAG files load this module.
_FUNCTION = rf"({_NAMES}):({_NAMES})"
_REMEDY = "Give a JMESPath expression, or a function as 'package.module:function'."


def check_filter(given: object, where: str) -> None:
    """Check a filter without importing its function.

    :param given: A JMESPath expression, ``package.module:function``, or None.
    :param where: The task.
    :raises BloqConfigurationError: It is something else, such as a function itself.
    """
    if given is None:
        return
    if not isinstance(given, str) or not given.strip():
        kind = "empty" if given == "" else f"of type {type(given).__name__}"
        raise BloqConfigurationError.of("response_filter", f"it is {kind}", _REMEDY, where)
    if not re.fullmatch(_FUNCTION, given, re.ASCII):
        _expression(given, where)


def load_filter(given: str | None, where: str) -> Filter:
    """Return a filter as a function.

    :param given: A filter that :func:`check_filter` has accepted.
    :param where: The task.
    :raises BloqConfigurationError: There is no such function.
    """
    if given is None:
        return lambda result: result
    named = re.fullmatch(_FUNCTION, given, re.ASCII)
    if named is None:
        return _expression(given, where)
    module, function = named.groups()
    try:
        found = attrgetter(function)(import_module(module))
    except (ImportError, AttributeError) as missing:
        raise BloqConfigurationError.of(
            "response_filter", f"{given!r} cannot be imported ({missing})", _REMEDY, where
        ) from missing
    if not callable(found):
        raise BloqConfigurationError.of("response_filter", f"{given!r} is not a function", _REMEDY, where)
    filter_: Filter = found
    return filter_


def _expression(text: str, where: str) -> Filter:
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        expression = jmespath.compile(text)
    except JMESPathError as wrong:
        raise BloqConfigurationError.of(
            "response_filter", f"{text!r} is not a JMESPath expression ({_first_line(wrong)})", _REMEDY, where
        ) from None

    def search(result: Any) -> Any:
        try:
            return expression.search(result)
        except JMESPathError as mismatch:
            raise BloqConfigurationError.of(
                "response_filter",
                f"{text!r} does not fit the result ({_first_line(mismatch)})",
                "Correct it, or give a function that handles all kinds of results.",
                where,
            ) from None

    return search


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


#: Largest result for XCom, in bytes. An XCom is a row in Airflow's database.
RESULT_LIMIT = 1024 * 1024

#: Stores that replace an object atomically. Elsewhere a temporary file is written and moved.
_ATOMIC_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})


def destination_of(
    path: str | None, conn_id: str | None, context: Any, where: str
) -> ObjectStoragePath | None:
    """Return the file for a large result. Reads the connection of the store, if there is one.

    :param path: URL of the file, or of a folder if it ends in ``/``. The file in a folder is named after the DAG, run,
        task and map index, so that no two tasks share it.
    :param conn_id: Connection of the store, unless the URL names it: ``s3://conn_id@bucket/key``.
    :param context: The context of the task.
    :param where: The task.
    :raises BloqConfigurationError: The store's provider is not installed, or the path is a folder.
    """
    if not path:
        return None
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    try:
        destination = ObjectStoragePath(path, conn_id=conn_id)
        # Fails now, before the call is made, if the store's provider is not installed.
        _ = destination.fs
    except (ImportError, ValueError) as unknown:
        scheme = path.partition("://")[0] if "://" in path else "file"
        raise BloqConfigurationError.of(
            "result_path",
            f"Airflow has no storage for {scheme}:// here ({type(unknown).__name__})",
            "Install the provider of that storage, or give another path.",
            where,
        ) from unknown
    is_folder = path.endswith("/")
    if not is_folder and destination.protocol not in _ATOMIC_PUT and destination.is_dir():
        raise BloqConfigurationError.of(
            "result_path", "it is a folder", "Append / to store a file in it, or name a file.", where
        )
    if is_folder:
        named: ObjectStoragePath = destination / _name_of(context["ti"])
        return named
    return destination


def returned(result: Any, limit: int | None, destination: ObjectStoragePath | None, where: str) -> Any:
    """Return the result itself or, if it is too large, the path of the file that it was written to.

    :param result: The result.
    :param limit: Largest result, in bytes of JSON, that is returned directly; None for no limit.
    :param destination: The file for larger results. An existing file is replaced atomically.
    :param where: The task.
    :raises BloqConfigurationError: The result is not JSON.
    :raises BloqResultTooLarge: The result is too large, and there is no file for it.
    """
    if limit is None:
        return result
    try:
        content = json.dumps(result, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as odd:
        raise BloqConfigurationError.of(
            "response_filter", f"its result is not JSON ({odd})", "Make it return JSON.", where
        ) from odd
    if len(content) <= limit:
        return result
    if destination is None:
        raise BloqResultTooLarge(len(content), limit)
    _write_atomically(destination, content)
    return str(destination)


def _name_of(ti: Any) -> str:
    is_mapped = ti.map_index is not None and ti.map_index >= 0
    task = f"{ti.task_id}.{ti.map_index}" if is_mapped else ti.task_id
    return f"{ti.dag_id}/{ti.run_id}/{task}.json"


def _write_atomically(file: ObjectStoragePath, content: bytes) -> None:
    """Write a file so that readers see either all of the old content or all of the new."""
    if file.protocol in _ATOMIC_PUT:
        file.fs.pipe_file(file.path, content)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        draft.fs.pipe_file(draft.path, content)
        draft.fs.mv(draft.path, file.path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.fs.rm_file(draft.path)
        raise


class BloqStoringOperator(BloqOperator):
    """An operator that returns its result, or writes a large one to a file and returns the file's path.

    :param result_path: URL of a file on object storage for results larger than ``result_limit``; the task then returns
        its path, for ``ObjectStoragePath``. If it ends in ``/``, the file in that folder is named after the DAG, run,
        task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, unless the URL names it.
    :param result_limit: Largest result, in bytes of JSON, that is returned directly. 0 writes all results to
        ``result_path``, None writes none. Without ``do_xcom_push`` and ``result_path`` there is no limit.
    :param bloq_conn_id: Id of the connection.
    :raises BloqConfigurationError: The limit is not a number of bytes.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "result_path", "result_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = (*LINKS, BloqResultLink())
    #: The file with the result, once the task has run.
    stored_result: StoredFile | None = None

    def __init__(
        self,
        *,
        result_path: str | None = None,
        result_conn_id: str | None = None,
        result_limit: int | None = RESULT_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.result_path = result_path
        self.result_conn_id = result_conn_id
        self.result_limit = result_limit
        if result_path is None:
            self.operator_extra_links = LINKS
        if result_limit is not None:
            from airflow_provider_bloq.arguments import require_whole_number

            require_whole_number("result_limit", result_limit, least=0)

    def _destination(self, context: Any) -> ObjectStoragePath | None:
        return destination_of(self.result_path, self.result_conn_id, context, self.task_id)

    def _returned(self, result: Any, destination: ObjectStoragePath | None) -> Any:
        # A result that is not stored may have any size.
        limit = self.result_limit if self.do_xcom_push or destination is not None else None
        value = returned(result, limit, destination, self.task_id)
        if value is not result and destination is not None:
            from airflow_provider_bloq.operators._lineage import stored_at

            self.log.info("The result is at %s", value)
            self.stored_result = stored_at(destination)
        return value
