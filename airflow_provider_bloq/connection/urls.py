"""Reads the URLs of Bloq's services: completes what the user entered, then validates it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from airflow_provider_bloq.auth.credentials import shows_path_key
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection.fields import Environment
from airflow_provider_bloq.connection.validation import Problems

__all__ = [
    "read_accounts_url",
    "read_connect_url",
    "read_nodes_url",
    "read_rpc_origins",
]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_EXPLICIT_PORT = re.compile(r":[0-9]+\Z", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*", re.ASCII)

_CHAIN = "{chain}"
# Replaces {chain} during validation; no real host has such a label.
_CHAIN_LABEL = "chain--goes--here"


def read_accounts_url(
    host: str | None, port: int | None, environment: Environment, problems: Problems
) -> str:
    """Read the base URL of Accounts from the connection's host and port.

    A name without a scheme means https; in the environment ``local``, whose services speak http, a loopback
    name means http.

    :param host: A name, a name with port, or a URL; None for the environment's URL.
    :param port: The connection's port; None if it is not given.
    :param environment: The environment.
    :param problems: Collects the problems, as ``host`` and ``port``.
    :return: The URL, without a trailing slash; the environment's if the given one is wrong.
    """
    preset = environment.presets.accounts_url
    try:
        url = _parse(host or preset, environment, "Enter a name such as accounts.bloq.cloud, or a URL")
    except _InvalidUrl as invalid:
        problems.add("host", invalid.problem, invalid.remedy)
        return preset
    if port is None or port == url.origin.port:
        return str(url)
    if url.has_explicit_port:
        problems.add(
            "port",
            f"{port} contradicts the {url.origin.port} of "
            f"{'the host' if host else f'the environment {environment}, which applies because host is empty'}",
            f"Leave it empty or enter {url.origin.port}",
        )
        return str(url)
    return str(replace(url, origin=replace(url.origin, port=port)))


def read_nodes_url(text: str | None, environment: Environment, problems: Problems) -> str:
    """Read the base URL of Nodes.

    :param text: A name or a URL; None for the environment's URL.
    :param environment: The environment.
    :param problems: Collects the problem.
    :return: The URL, without a trailing slash; the environment's if the given one is wrong.
    """
    preset = environment.presets.nodes_url
    if text is None:
        return preset
    try:
        return str(_parse(text, environment, f"Enter a URL such as {preset}"))
    except _InvalidUrl as invalid:
        problems.add("nodes_url", invalid.problem, invalid.remedy)
        return preset


def read_connect_url(text: str | None, environment: Environment, problems: Problems) -> str:
    """Read the base URL of Connect, which may contain ``{chain}``; see :func:`read_nodes_url`."""
    preset = environment.presets.connect_url
    if text is None:
        return preset
    remedy = f"Enter a URL such as {preset}"
    try:
        url = _parse(text.replace(_CHAIN, _CHAIN_LABEL), environment, remedy)
        _reject_chain_as_domain(url.origin, remedy)
    except _InvalidUrl as invalid:
        problems.add("connect_url", invalid.problem, invalid.remedy)
        return preset
    return str(url).replace(_CHAIN_LABEL, _CHAIN)


def read_rpc_origins(texts: tuple[str, ...], problems: Problems) -> frozenset[Origin]:
    """Read the origins that may receive the token besides Bloq's own.

    :param texts: The entries of ``rpc_origins``.
    :param problems: Collects one problem for all wrong entries.
    :return: The origins of the valid entries.
    """
    remedy = "Enter scheme, host and port only, such as https://rpc.example.com:8545"
    origins: set[Origin] = set()
    wrong: list[str] = []
    remedies: set[str] = set()
    for number, text in enumerate(texts, start=1):
        try:
            if not _SCHEME.match(text):
                raise _InvalidUrl("it has no scheme", remedy)
            url = _parse(text, None, remedy)
            if url.path:
                raise _InvalidUrl("it has a path", remedy)
        except _InvalidUrl as invalid:
            wrong.append(f"entry {number}: {invalid.problem}")
            remedies.add(invalid.remedy)
        else:
            origins.add(url.origin)
    if wrong:
        problems.add("rpc_origins", "; ".join(wrong), ". ".join(sorted(remedies)))
    return frozenset(origins)


@dataclass(frozen=True)
class _BaseUrl:
    origin: Origin
    path: str
    has_explicit_port: bool

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


class _InvalidUrl(ValueError):
    """A URL that cannot be used.

    The texts quote no part of the URL, which may contain a user name, a password or a path key.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def _parse(text: str, environment: Environment | None, remedy: str) -> _BaseUrl:
    url = text if _SCHEME.match(text) else _with_scheme(text, environment)
    try:
        origin = Origin.of(url)
    except ValueError as error:
        raise _InvalidUrl(str(error), remedy) from None
    if "?" in url or "#" in url:
        raise _InvalidUrl("it has a query or a fragment", remedy)
    if origin.scheme == "http" and not origin.is_loopback:
        raise _InvalidUrl(
            "http would send keys and tokens unencrypted, and the host is not this machine", "Use https"
        )
    authority, slash, rest = url.split("://", 1)[1].partition("/")
    path = (slash + rest).rstrip("/")
    if not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise _InvalidUrl("its path cannot be used", remedy)
    if shows_path_key(f"{origin}{path}"):
        # The path is a credential, and URLs appear in logs, errors and pages.
        raise _InvalidUrl(
            "it is a URL of Connect's JSON-RPC and contains a path key",
            "Enter the URL without /v1/ and what follows, and the key in connect_api_keys or next to the client keys "
            "in Vault. Change the key: it may already appear in pages and logs",
        )
    return _BaseUrl(origin, path, bool(_EXPLICIT_PORT.search(authority)))


def _with_scheme(text: str, environment: Environment | None) -> str:
    try:
        IPv6Address(text)
    except ValueError:
        name = text
    else:
        name = f"[{text}]"
    try:
        is_http = environment is Environment.LOCAL and Origin.of(f"http://{name}").is_loopback
    except ValueError:
        # The caller reports what is wrong with the completed URL.
        is_http = False
    return f"http://{name}" if is_http else f"https://{name}"


def _reject_chain_as_domain(origin: Origin, remedy: str) -> None:
    """Allow ``{chain}`` below a domain but not as the domain: a chain name must not choose who gets the token."""
    domain = ".".join(origin.host.split(".")[-2:])
    if _CHAIN_LABEL in domain and not origin.is_loopback:
        raise _InvalidUrl(f"{_CHAIN} is in the place of the domain itself", remedy)
