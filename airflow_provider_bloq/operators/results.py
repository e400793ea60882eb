"""Where the result of a task goes: into XCom, or, where it is large, into a file on object storage."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqResultTooLarge

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

__all__ = ["RESULT_LIMIT", "destination_of", "returned"]

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
