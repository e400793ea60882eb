"""What a task read and wrote, for Airflow's lineage and for OpenLineage. Neither is needed for anything else.

Only names leave here: no user, password, query or path of a URL, as any of them may be a credential, and no
parameters of calls.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_bloq import __version__
from airflow_provider_bloq.validation import connect_chain_of

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

__all__ = [
    "DatasetName",
    "StoredFile",
    "chain_dataset",
    "distinct",
    "node_dataset",
    "operator_lineage",
    "stored_at",
]


log = logging.getLogger(__name__)

#: Object stores, by the scheme that OpenLineage calls them by. Elsewhere a file's name begins with a slash.
#: The namespace of the chains of Connect.
_CONNECT = "bloq://connect"
_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}

_MOST_OPERATIONS = 20


@dataclass(frozen=True, slots=True)
class DatasetName:
    """What OpenLineage calls a dataset by.

    :param namespace: What it belongs to.
    :param name: Its name there.
    """

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class StoredFile(DatasetName):
    """A file that a task has written, as ``<scheme>://<authority>`` or ``file``, and its path there."""

    @classmethod
    def of(cls, url: str) -> StoredFile:
        """Name a file by its URL. User and password, or the connection that stands in their place, are left out.

        :param url: A URL, or a path.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme == "file":
            return cls("file", rest if separator else url)
        authority, _, key = rest.partition("/")
        place = authority.rpartition("@")[2]
        if store := _STORES.get(scheme):
            # The key of an object may hold a question mark; no query follows it.
            return cls(f"{store}://{place}", key)
        return cls(f"{scheme}://{place}", f"/{key.partition('?')[0]}")

    @property
    def uri(self) -> str:
        """The file's URL."""
        if self.namespace == "file":
            return f"file://{self.name}"
        return f"{self.namespace}/{self.name.removeprefix('/')}"


def node_dataset(node: str | Mapping[str, Any]) -> DatasetName:
    """Name a node or cluster as what is read: by its id, or, of a URL, by its origin alone; or a chain of Connect.

    :param node: As operators take it.
    """
    subject = node.get("id") if isinstance(node, Mapping) else node
    text = str(subject)
    if chain := connect_chain_of(text):
        return DatasetName(_CONNECT, chain)
    if "://" not in text:
        return DatasetName("bloq://nodes", text)
    parts = urlsplit(text)
    return DatasetName(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", "json-rpc")


def chain_dataset(chain: str, network: str) -> DatasetName:
    """Name a chain that Connect is asked about.

    :param chain: Such as ``btc``.
    :param network: Such as ``mainnet``.
    """
    return DatasetName(_CONNECT, f"{chain}/{network}")


def distinct(operations: Iterable[str]) -> tuple[str, ...]:
    """Return what was called, each once and in order, and no more than a lineage event should carry."""
    return tuple(islice(dict.fromkeys(operations), _MOST_OPERATIONS))


def stored_at(file: ObjectStoragePath) -> StoredFile:
    """Tell Airflow's collector of lineage that a file was written, and name it. Never fails who wrote it.

    :param file: The file.
    """
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector

    stored = StoredFile.of(str(file))
    try:
        get_hook_lineage_collector().add_output_asset(context=file, uri=stored.uri)
    except (TypeError, ValueError) as refused:
        # Airflow has rules for the URIs of assets that not every storage meets.
        log.debug("Lineage does not know of %s: %s", stored.uri, refused)
    return stored


def operator_lineage(
    *,
    inputs: Iterable[DatasetName] = (),
    outputs: Iterable[DatasetName | None] = (),
    operations: Sequence[str] = (),
) -> Any:
    """Put what a task read, wrote and called as OpenLineage's provider wants it.

    :param inputs: What it read.
    :param outputs: What it wrote; None stands for nothing.
    :param operations: What it called: methods, or endpoints. They become the run facet ``bloq``.
    :return: An ``OperatorLineage``; None where OpenLineage's provider is not installed.
    """
    try:
        extractors: Any = import_module("airflow.providers.openlineage.extractors")
        events: Any = import_module("openlineage.client.event_v2")
        facets: Any = import_module("openlineage.client.facet_v2")
    except ImportError:
        return None
    called = facets.RunFacet().with_additional_properties(operations=list(operations), version=__version__)
    return extractors.OperatorLineage(
        inputs=[events.InputDataset(each.namespace, each.name) for each in inputs],
        outputs=[events.OutputDataset(each.namespace, each.name) for each in outputs if each],
        run_facets={"bloq": called} if operations else {},
    )
