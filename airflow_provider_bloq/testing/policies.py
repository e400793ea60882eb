"""Vault policies of least privilege for the roles of a fleet, as the documentation has them.

Paths are those of a KV engine of version 2, where the data of ``bloq/shared`` in ``secret`` is read and
written at ``secret/data/bloq/shared``, and how many versions are kept stands at ``secret/metadata/…``.
"""

from __future__ import annotations

__all__ = ["member_policy", "reader_policy", "worker_policy"]


def worker_policy(keys_path: str, *, mount: str = "secret") -> str:
    """Give the policy of tasks that have a token each (``sharing: task``): read the client keys, no more.

    :param keys_path: Path of the client keys below the mount.
    """
    return _rule(f"{mount}/data/{keys_path}", "read")


def reader_policy(shared_path: str, *, mount: str = "secret") -> str:
    """Give the policy of tasks that only read the shared token: no client keys, no writing.

    :param shared_path: Path of the shared token below the mount.
    """
    return _rule(f"{mount}/data/{shared_path}", "read")


def member_policy(shared_path: str, keys_path: str | None = None, *, mount: str = "secret") -> str:
    """Give the policy of a member, such as a broker: read the client keys, keep the shared token fresh.

    The last two rules let it limit the versions that Vault keeps; it works without them.

    :param shared_path: Path of the shared token below the mount.
    :param keys_path: Path of the client keys; None where they stand in the connection.
    """
    rules = [worker_policy(keys_path, mount=mount)] if keys_path is not None else []
    paths = (shared_path, f"{shared_path}/lease")
    rules += [_rule(f"{mount}/data/{path}", "create", "read", "update") for path in paths]
    rules += [_rule(f"{mount}/metadata/{path}", "create", "update") for path in paths]
    return "\n".join(rules)


def _rule(path: str, *capabilities: str) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{ capabilities = [{listed}] }}'
