"""The form of ``bloq://`` URIs: ``bloq://<chain>/<network>/blocks``, and what stands in its place."""

from __future__ import annotations

import re
from urllib.parse import SplitResult

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["LABEL", "sanitize_uri", "uri_of"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: How watched addresses or logs are named in a URI.
LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: What may stand below a network, and whether it has a label.
_THINGS = {"blocks": False, "addresses": True, "logs": True}
_FORMS = (
    "Write bloq://<chain>/<network>/blocks, bloq://<chain>/<network>/addresses/<label>, or "
    "bloq://<chain>/<network>/logs/<label>, such as bloq://eth/mainnet/blocks."
)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a ``bloq://`` URI and bring it into its one form; Airflow calls it for each asset with that scheme.

    Everything is written in lower case, without a slash at the end. A chain and a network are names in the form in
    which Bloq's are; whether there are such is not asked.

    :param uri: The URI, split.
    :raises BloqConfigurationError: It has not that form. A user, a password, a port, a query and a fragment have no
        place in it.
    """
    if "@" in uri.netloc or ":" in uri.netloc or uri.query or uri.fragment:
        raise _malformed("it has more than a chain, a network and what is watched there")
    chain = uri.netloc.lower()
    network, *thing = uri.path.strip("/").lower().split("/")
    if not _NAME.fullmatch(chain) or not _NAME.fullmatch(network):
        raise _malformed("it does not begin with the names of a chain and a network")
    match thing:
        case [kind] if _THINGS.get(kind) is False:
            path = kind
        case [kind, label] if _THINGS.get(kind) is True and LABEL.fullmatch(label):
            path = f"{kind}/{label}"
        case _:
            raise _malformed("it does not end in what is watched")
    return SplitResult(uri.scheme.lower(), chain, f"/{network}/{path}", "", "")


def uri_of(chain: str, network: str, *thing: str) -> str:
    """Return the URI of something on a chain.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param thing: ``blocks``, or ``addresses`` or ``logs`` with a label.
    :raises BloqConfigurationError: One of these cannot stand in it.
    """
    path = "/".join((network, *thing))
    return sanitize_uri(SplitResult("bloq", chain, f"/{path}", "", "")).geturl()


def _malformed(problem: str) -> BloqConfigurationError:
    # The URI itself is not shown: it may hold a password.
    return BloqConfigurationError.of("uri", problem, _FORMS)
