"""The base of operators that work on an event loop in the worker, on any Airflow from 3.1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import BaseAsyncOperator
else:
    try:
        from airflow.sdk import BaseAsyncOperator
    except ImportError:
        # Airflow 3.1 has none.
        class BaseAsyncOperator(BaseOperator):
            """Runs ``aexecute`` to its end on an event loop of its own."""

            def execute(self, context: Any) -> Any:
                """Run it."""
                limit = self.execution_timeout.total_seconds() if self.execution_timeout else None
                return asyncio.run(asyncio.wait_for(self.aexecute(context), limit))


__all__ = ["BaseAsyncOperator"]
