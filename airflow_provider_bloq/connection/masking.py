"""Masks secrets in Airflow's logs, for blocking code and for the event loop."""

from __future__ import annotations

from functools import partial

__all__ = [
    "amask",
    "mask",
]


def mask(value: str) -> None:
    """Hide a secret in the logs of this process and of its supervisor."""
    from airflow.sdk.log import mask_secret

    mask_secret(value)


async def amask(value: str) -> None:
    """Like :func:`mask`, without blocking the event loop."""
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:
        # Before Airflow 3.3 there is only the blocking function, which is safe in a thread.
        from airflow_provider_bloq.flow.threads import in_thread

        await in_thread(partial(mask, value))
    else:
        await amask_secret(value)
