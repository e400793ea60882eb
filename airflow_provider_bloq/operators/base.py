"""What all operators of this provider have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = ["BloqOperator"]


class BloqOperator(BaseOperator):
    """An operator that acts through one ``bloq`` connection.

    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = ("bloq_conn_id",)
    ui_color = "#d9e7f5"

    def __init__(self, *, bloq_conn_id: str = BloqHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bloq_conn_id = bloq_conn_id

    @cached_property
    def hook(self) -> BloqHook:
        """The hook of the connection; made when the task runs."""
        return BloqHook(self.bloq_conn_id)
