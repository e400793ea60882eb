"""What a task read and wrote, for Airflow's lineage and for OpenLineage; neither has to be installed.

Reports names only: no user, password, query or path of a URL, which may be credentials, and no parameters of calls.
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
from airflow_provider_bloq.arguments import connect_chain_of

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

#: OpenLineage's namespace of the chains in Connect.
_CONNECT = "bloq://connect"
#: OpenLineage's schemes of object stores. File names in other stores begin with a slash.
_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}

_MOST_OPERATIONS = 20


@dataclass(frozen=True, slots=True)
class DatasetName:
    """OpenLineage's name of a dataset."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class StoredFile(DatasetName):
    """A file that a task has written: ``<scheme>://<authority>`` or ``file``, and the path."""

    @classmethod
    def of(cls, url: str) -> StoredFile:
        """Return the name of a file without the user and password, or connection, in its URL.

        :param url: A URL or path.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme == "file":
            return cls("file", rest if separator else url)
        authority, _, key = rest.partition("/")
        host = authority.rpartition("@")[2]
        if store := _STORES.get(scheme):
            # A question mark belongs to the key. There is no query.
            return cls(f"{store}://{host}", key)
        return cls(f"{scheme}://{host}", f"/{key.partition('?')[0]}")

    @property
    def uri(self) -> str:
        """The file's URL."""
        if self.namespace == "file":
            return f"file://{self.name}"
        return f"{self.namespace}/{self.name.removeprefix('/')}"


def node_dataset(node: str | Mapping[str, Any]) -> DatasetName:
    """Return the dataset of a node or cluster (by its id or, for a URL, its origin) or of a chain in Connect.

    :param node: The operator's argument.
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
    """Return the dataset of a chain in Connect, such as ``btc`` and ``mainnet``."""
    return DatasetName(_CONNECT, f"{chain}/{network}")


def distinct(operations: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct operations in order, at most as many as fit into a lineage event."""
    return tuple(islice(dict.fromkeys(operations), _MOST_OPERATIONS))


def stored_at(file: ObjectStoragePath) -> StoredFile:
    """Report a written file to Airflow's lineage, and return its name. A failed report is only logged."""
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector

    stored = StoredFile.of(str(file))
    try:
        get_hook_lineage_collector().add_output_asset(context=file, uri=stored.uri)
    except (TypeError, ValueError) as refused:
        # Airflow's rules for asset URIs do not allow every storage.
        log.debug("Lineage does not include %s: %s", stored.uri, refused)
    return stored


def operator_lineage(
    *,
    inputs: Iterable[DatasetName] = (),
    outputs: Iterable[DatasetName | None] = (),
    operations: Sequence[str] = (),
) -> Any:
    """Return an ``OperatorLineage``; None if OpenLineage's provider is not installed.

    :param inputs: What the task read.
    :param outputs: What it wrote; None is ignored.
    :param operations: Methods or endpoints that it called, for the run facet ``bloq``.
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
