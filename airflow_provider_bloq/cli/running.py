"""Runs a command: what it may take for granted, and how it ends when something goes wrong."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from airflow_provider_bloq.cli.screen import Screen
from airflow_provider_bloq.exceptions import BloqError

__all__ = ["run"]

#: By this Airflow knows that its database may be asked for connections; its own commands set it as well.
_PROCESS_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"


def run(target: str, arguments: Namespace) -> int:
    """Run a command.

    :param target: Module and name of its function, with a colon between.
    :param arguments: Its arguments.
    :return: The exit code: 0 if all is well, 1 if not, 130 if it was interrupted.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    os.environ.setdefault(_PROCESS_CONTEXT, "server")
    screen = Screen(as_json=arguments.output)
    module, _, name = target.partition(":")
    command = getattr(import_module(module), name)
    with _only_warnings():
        try:
            code: int = command(arguments, screen)
        except (BloqError, AirflowNotFoundException) as error:
            screen.complain(str(error))
            return 1
        except KeyboardInterrupt:
            return 130
    return code


@contextmanager
def _only_warnings() -> Iterator[None]:
    """Keep lines about tokens out of what a command shows."""
    log = logging.getLogger("airflow_provider_bloq")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
