"""Reads the addresses of Bloq's services: what a person enters, made whole and judged."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection.fields import Environment
from airflow_provider_bloq.connection.validation import Problems

__all__ = [
    "read_accounts_url",
    "read_rpc_origins",
    "read_service_url",
]


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_EXPLICIT_PORT = re.compile(r":[0-9]+\Z", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*", re.ASCII)

_CHAIN = "{chain}"
# What stands for {chain} while the rest is judged: a label no real address has.
_CHAIN_LABEL = "chain--goes--here"


@dataclass(frozen=True, slots=True)
class _Address:
    origin: Origin
    path: str
    names_port: bool

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


class _Refused(ValueError):
    """An address that cannot be used: what is wrong with it, and what to do.

    Messages quote no part of an address that could hold a user name, a password or a path key.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def read_accounts_url(
    host: str | None, port: int | None, environment: Environment, problems: Problems
) -> str:
    """Read the base URL of Accounts from the connection's host and port.

    A bare name means https, except that of a loopback host in the environment ``local``, whose
    services speak http (their preset does, too).

    :param host: A name, a name with port, or a URL; None for the environment's own.
    :param port: The connection's port; None where it is not given.
    :param environment: The environment.
    :param problems: Where problems are noted, as ``host`` and ``port``.
    :return: The URL, without a trailing slash; the environment's own where what is given is wrong.
    """
    preset = environment.presets.accounts_url
    try:
        address = _read(host or preset, environment, "Enter a name such as accounts.bloq.cloud, or a URL")
    except _Refused as refused:
        problems.add("host", refused.problem, refused.remedy)
        return preset
    if port is None or port == address.origin.port:
        return str(address)
    if address.names_port:
        problems.add(
            "port",
            f"{port} contradicts the {address.origin.port} of "
            f"{'the host' if host else f'the environment {environment}, which holds as host is empty'}",
            f"Leave it empty or enter {address.origin.port}",
        )
        return str(address)
    return str(replace(address, origin=replace(address.origin, port=port)))


def read_service_url(
    field: str,
    text: str | None,
    preset: str,
    environment: Environment,
    problems: Problems,
    *,
    by_chain: bool = False,
) -> str:
    """Read the base URL of another service.

    :param field: Name of the field, for the problem.
    :param text: A name or a URL; None for the preset.
    :param preset: What holds where none is given.
    :param environment: The environment.
    :param problems: Where a problem is noted.
    :param by_chain: Whether ``{chain}`` may stand for the name of a chain.
    :return: The URL, without a trailing slash; the preset where what is given is wrong.
    """
    if text is None:
        return preset
    remedy = f"Enter a URL such as {preset}"
    try:
        if not by_chain:
            return str(_read(text, environment, remedy))
        address = _read(text.replace(_CHAIN, _CHAIN_LABEL), environment, remedy)
        _refuse_chain_as_owner(address.origin, remedy)
    except _Refused as refused:
        problems.add(field, refused.problem, refused.remedy)
        return preset
    return str(address).replace(_CHAIN_LABEL, _CHAIN)


def read_rpc_origins(texts: tuple[str, ...], problems: Problems) -> frozenset[Origin]:
    """Read the origins that may be shown the token besides Bloq's own.

    :param texts: The entries of ``rpc_origins``.
    :param problems: Where a problem is noted.
    :return: Those that are right.
    """
    remedy = "Enter scheme, host and port only, such as https://rpc.example.com:8545"
    origins: set[Origin] = set()
    wrong: list[str] = []
    remedies: set[str] = set()
    for number, text in enumerate(texts, start=1):
        try:
            if not _SCHEME.match(text):
                raise _Refused("it has no scheme", remedy)
            address = _read(text, None, remedy)
            if address.path:
                raise _Refused("it has a path", remedy)
        except _Refused as refused:
            wrong.append(f"entry {number}: {refused.problem}")
            remedies.add(refused.remedy)
        else:
            origins.add(address.origin)
    if wrong:
        problems.add("rpc_origins", "; ".join(wrong), ". ".join(sorted(remedies)))
    return frozenset(origins)


def _read(text: str, environment: Environment | None, remedy: str) -> _Address:
    url = text if _SCHEME.match(text) else _complete(text, environment)
    try:
        origin = Origin.of(url)
    except ValueError as error:
        raise _Refused(str(error), remedy) from None
    if "?" in url or "#" in url:
        raise _Refused("it has a query or a fragment", remedy)
    if origin.scheme == "http" and not origin.is_loopback:
        raise _Refused(
            "http would send keys and tokens unencrypted, and the host is not this machine", "Use https"
        )
    authority, slash, rest = url.split("://", 1)[1].partition("/")
    path = (slash + rest).rstrip("/")
    if not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise _Refused("its path cannot be used", remedy)
    return _Address(origin, path, bool(_EXPLICIT_PORT.search(authority)))


def _complete(bare: str, environment: Environment | None) -> str:
    try:
        IPv6Address(bare)
    except ValueError:
        name = bare
    else:
        name = f"[{bare}]"
    if environment is not Environment.LOCAL:
        return f"https://{name}"
    try:
        return f"http://{name}" if Origin.of(f"http://{name}").is_loopback else f"https://{name}"
    except ValueError:
        # Whatever is wrong with it is told by the one who reads the completed URL.
        return f"https://{name}"


def _refuse_chain_as_owner(origin: Origin, remedy: str) -> None:
    """Let ``{chain}`` choose a host below a domain, never the domain: the token is shown there."""
    domain = ".".join(origin.host.split(".")[-2:])
    if _CHAIN_LABEL in domain and not origin.is_loopback:
        raise _Refused(f"{_CHAIN} stands in the place of the domain itself", remedy)
