"""What is taken of the result of a call: by a JMESPath expression, or by a function that is named.

Both are given as text, since a task's arguments are stored and shown. ``package.module:function``, with its
colon, is how Python's own entry points name a function; no JMESPath expression looks like it, so the two
cannot be taken for each other. Text without such a colon is JMESPath, ``block.number`` for instance.
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
from airflow_provider_bloq.operators._lineage import StoredFile, stored_at
from airflow_provider_bloq.operators.links import LINKS, BloqResultLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, ObjectStoragePath

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
_FUNCTION = re.compile(rf"({_NAMES}):({_NAMES})", re.ASCII)
_REMEDY = "Give a JMESPath expression, or a function as 'package.module:function'."


def check_filter(given: object, where: str) -> None:
    """Refuse what is no filter. Imports nothing of the author's.

    :param given: A JMESPath expression, ``package.module:function``, or None.
    :param where: The task it belongs to.
    :raises BloqConfigurationError: It is none of these, such as a function itself.
    """
    if given is None:
        return
    if not isinstance(given, str) or not given.strip():
        kind = "empty" if given == "" else f"of type {type(given).__name__}"
        raise BloqConfigurationError.of("response_filter", f"it is {kind}", _REMEDY, where)
    if not _FUNCTION.fullmatch(given):
        _expression(given, where)


def load_filter(given: str | None, where: str) -> Filter:
    """Make the filter ready.

    :param given: What :func:`check_filter` has let pass.
    :param where: The task it belongs to.
    :raises BloqConfigurationError: There is no such function.
    """
    if given is None:
        return _whole
    named = _FUNCTION.fullmatch(given)
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
        raise BloqConfigurationError.of("response_filter", f"{given!r} is no function", _REMEDY, where)
    filter_: Filter = found
    return filter_


def _whole(result: Any) -> Any:
    return result


def _expression(text: str, where: str) -> Filter:
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        expression = jmespath.compile(text)
    except JMESPathError as wrong:
        raise BloqConfigurationError.of(
            "response_filter", f"{text!r} is no JMESPath expression ({_first_line(wrong)})", _REMEDY, where
        ) from None

    def searched(result: Any) -> Any:
        try:
            return expression.search(result)
        except JMESPathError as misfit:
            raise BloqConfigurationError.of(
                "response_filter",
                f"{text!r} does not fit the result ({_first_line(misfit)})",
                "Correct it, or give a function that tells the kinds of results apart.",
                where,
            ) from None

    return searched


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


#: The most that goes into XCom, in bytes: it is a row in Airflow's database, read with every look at it.
RESULT_LIMIT = 1024 * 1024

#: Stores whose put replaces an object as a whole. Elsewhere a file is written beside and moved.
_PUT_IS_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})


def destination_of(
    path: str | None, conn_id: str | None, context: Any, where: str
) -> ObjectStoragePath | None:
    """Return the file that a large result goes to. Reads the connection of the store, if there is one.

    :param path: URL of the file; of a folder where it ends in ``/``: the file in it is then named by the
        DAG, the run, the task and its map index, so that no two tasks share it.
    :param conn_id: Connection of the store; it may stand in the URL instead: ``s3://conn_id@bucket/key``.
    :param context: The context of the task.
    :param where: The task.
    :raises BloqConfigurationError: There is no such kind of store here, or a folder is in the file's place.
    """
    if not path:
        return None
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    try:
        destination = ObjectStoragePath(path, conn_id=conn_id)
        # Finds out now, before the call is made, whether what the store needs is installed.
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
    if not is_folder and destination.protocol not in _PUT_IS_WHOLE and destination.is_dir():
        raise BloqConfigurationError.of(
            "result_path", "it is a folder", "End it in / for a file in there, or name a file.", where
        )
    if is_folder:
        named: ObjectStoragePath = destination / _name_of(context["ti"])
        return named
    return destination


def returned(result: Any, limit: int | None, destination: ObjectStoragePath | None, where: str) -> Any:
    """Return what a task is to return of its result: itself, or the path of the file that it now is in.

    :param result: The result.
    :param limit: The most bytes of JSON that are returned as they are; None for any number.
    :param destination: The file for larger ones. One that is there is replaced, at once.
    :param where: The task.
    :raises BloqConfigurationError: The result is no JSON.
    :raises BloqResultTooLarge: It is larger, and there is no file for it.
    """
    if limit is None:
        return result
    try:
        content = json.dumps(result, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as odd:
        raise BloqConfigurationError.of(
            "response_filter", f"what it gives is no JSON ({odd})", "Have it give JSON.", where
        ) from odd
    if len(content) <= limit:
        return result
    if destination is None:
        raise BloqResultTooLarge(len(content), limit)
    _write_whole(destination, content)
    return str(destination)


def _name_of(ti: Any) -> str:
    is_mapped = ti.map_index is not None and ti.map_index >= 0
    task = f"{ti.task_id}.{ti.map_index}" if is_mapped else ti.task_id
    return f"{ti.dag_id}/{ti.run_id}/{task}.json"


def _write_whole(file: ObjectStoragePath, content: bytes) -> None:
    """Write a file so that who reads it sees all of the old content or all of the new."""
    if file.protocol in _PUT_IS_WHOLE:
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
    """An operator that returns its result, or puts a large one into a file and returns the file's path.

    :param result_path: URL of the file on object storage that a result over ``result_limit`` goes to; its
        path is returned then, as text that ``ObjectStoragePath`` takes. Where it ends in ``/`` the file in
        that folder is named by DAG, run, task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are. 0: all go to ``result_path``.
        None: none do. Without ``do_xcom_push`` and ``result_path`` there is no limit.
    :param bloq_conn_id: Id of the connection.
    :raises BloqConfigurationError: The limit is no number of bytes.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "result_path", "result_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = (*LINKS, BloqResultLink())
    #: The file that the result went to, once the task has run.
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
            from airflow_provider_bloq.validation import require_whole_number

            require_whole_number("result_limit", result_limit, least=0)

    def _destination(self, context: Any) -> ObjectStoragePath | None:
        return destination_of(self.result_path, self.result_conn_id, context, self.task_id)

    def _returned(self, result: Any, destination: ObjectStoragePath | None) -> Any:
        # What goes nowhere may be of any size.
        limit = self.result_limit if self.do_xcom_push or destination is not None else None
        value = returned(result, limit, destination, self.task_id)
        if value is not result and destination is not None:
            self.log.info("The result is at %s", value)
            self.stored_result = stored_at(destination)
        return value
