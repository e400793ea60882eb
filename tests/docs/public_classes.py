"""What the provider offers to authors of DAGs, as it tells Airflow."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger

from airflow_provider_bloq.get_provider_info import get_provider_info

__all__ = ["public_names"]

#: Made to be used as it is, though others are built on it.
_USED_AS_IT_IS = {"BloqWaitTrigger"}


def public_names() -> set[str]:
    """Return the names of operators, sensors, triggers and asset functions, and that of the decorator.

    Classes on which others of the provider are built are not meant to be used by themselves.
    """
    info: dict[str, Any] = get_provider_info()
    offered = {
        kind
        for section in ("operators", "sensors", "triggers")
        for entry in info[section]
        for module in entry["python-modules"]
        for kind in _classes_in(module)
    }
    bases = {base for kind in offered for base in kind.__mro__[1:]}
    names = {kind.__name__ for kind in offered - bases} | _USED_AS_IT_IS
    names.update(import_module("airflow_provider_bloq.assets.bloq").__all__)
    return names | {f"task.{entry['name']}" for entry in info["task-decorators"]}


def _classes_in(module_name: str) -> set[type]:
    module = import_module(module_name)
    named = [getattr(module, name) for name in module.__all__]
    return {each for each in named if inspect.isclass(each) and issubclass(each, BaseOperator | BaseTrigger)}
