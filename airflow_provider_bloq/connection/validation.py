"""Validate the values and URLs of a connection, and collect all problems so that they are reported together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import IPv6Address
from typing import Any

from airflow_provider_bloq.auth.credentials import REDACTED, Secret, shows_path_key
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection.fields import (
    EXTRA_FIELDS,
    ChoiceField,
    ChoiceT,
    Environment,
    ListField,
    NumberField,
    OptionalNumberField,
    SecretTableField,
    TableField,
    TextField,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.flow import service

__all__ = [
    "ExtraReader",
    "Problems",
    "read_accounts_url",
    "read_connect_url",
    "read_nodes_url",
    "read_port",
    "read_rpc_origins",
    "read_text",
    "reject_misplaced_names",
    "reject_redacted",
]


_SHOWN_LENGTH = 80


class Problems:
    """The problems found so far.

    :param where: What the fields belong to, such as ``connection 'bloq_default'``.
    :param secret: The client secret, if there is one: values that contain it are not quoted.
    """

    def __init__(self, where: str, secret: str = "") -> None:
        self._where = where
        self._secret = secret
        self._found: list[FieldProblem] = []

    def add(self, field: str, problem: str, remedy: str) -> None:
        """Add a problem. Only the first one of a field is kept: the others follow from it."""
        if field not in self:
            self._found.append(FieldProblem(field, problem, remedy))

    def __contains__(self, field: str) -> bool:
        return any(problem.field == field for problem in self._found)

    def quote(self, value: object) -> str:
        """Quote the value of a field that is not secret, cut to 80 characters."""
        text = repr(value)
        if self._secret and self._secret in text:
            return repr(REDACTED)
        return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"

    def raise_if_any(self) -> None:
        """Raise one error for all problems.

        :raises BloqConfigurationError: There is a problem.
        """
        if self._found:
            raise BloqConfigurationError(self._found, self._where)


class ExtraReader:
    """Reads the extra fields by their declarations in ``fields.py``; a missing or wrong value gives the default.

    :param extra: The connection's extra.
    :param problems: Collects the problems.
    """

    def __init__(self, extra: Mapping[str, Any], problems: Problems) -> None:
        self._extra = extra
        self._problems = problems

    def text(self, field: TextField) -> str | None:
        """Read a text."""
        return read_text(field.name, self._extra.get(field.name), self._problems)

    def choice(self, field: ChoiceField[ChoiceT]) -> ChoiceT:
        """Read one of the allowed values."""
        text = read_text(field.name, self._extra.get(field.name), self._problems)
        choice = field.default if text is None else field.choices.get(text.lower())
        if choice is None:
            self._problems.add(
                field.name,
                f"{self._problems.quote(text)} is not one of the allowed values",
                f"Enter one of {', '.join(field.choices)}",
            )
            return field.default
        return choice

    def number(self, field: NumberField) -> float:
        """Read a number."""
        number = self.optional_number(field)
        return float(field.default) if number is None else number

    def optional_number(self, field: OptionalNumberField) -> float | None:
        """Read a number, or None."""
        value = self._extra.get(field.name)
        return _read_number(field.name, value, field.minimum, field.maximum, self._problems)

    def table(self, field: TableField) -> Mapping[str, Any]:
        """Read a JSON object, or its text; by default an empty one."""
        value = self._structure(field.name)
        if isinstance(value, Mapping):
            return value
        if value is not None:
            shown = "it" if isinstance(field, SecretTableField) else self._problems.quote(value)
            self._problems.add(field.name, f"{shown} is not an object", "Enter a JSON object")
        return {}

    def texts(self, field: ListField) -> tuple[str, ...]:
        """Read a list of texts, its JSON text, or texts separated by commas or line breaks; by default none."""
        value = self._structure(field.name)
        if value is None:
            return ()
        items = value.replace("\n", ",").split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            self._problems.add(
                field.name,
                f"{self._problems.quote(value)} is not a list of texts",
                "Enter a JSON list of texts, or texts separated by commas",
            )
            return ()
        return tuple(stripped for item in items if (stripped := item.strip()))

    def _structure(self, name: str) -> Any:
        if name in self._problems:
            return None
        value = self._extra.get(name)
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text.startswith(("[", "{")):
            return text or None
        try:
            return service.parse_json(text)
        except ValueError:
            self._problems.add(
                name, "it looks like JSON but cannot be parsed", "Correct its quotes, commas and brackets"
            )
            return None


def read_text(field: str, value: object, problems: Problems) -> str | None:
    """Read a text without the blanks around it; None if it is missing, empty or wrong.

    :param field: Name of the field, for the problem.
    :param value: The value as given; may be a :class:`Secret`.
    :param problems: Collects the problems.
    """
    if value is None or field in problems:
        return None
    if not isinstance(value, str):
        problems.add(field, f"it is not a text but of type {type(value).__name__}", "Enter a text")
        return None
    text = (value.reveal() if isinstance(value, Secret) else value).strip()
    if not text.isprintable():
        problems.add(field, "it contains a line break or another control character", "Enter the value again")
        return None
    return text or None


def read_port(value: object, problems: Problems) -> int | None:
    """Read the connection's port; None if it is missing, wrong, or 0, which the form stores for an empty field.

    :param value: A number, or its text.
    :param problems: Collects the problems.
    """
    if not isinstance(value, bool) and value in (0, "0"):
        return None
    number = _read_number("port", value, 1, 65535, problems)
    if number is not None and not number.is_integer():
        problems.add(
            "port", f"{problems.quote(value)} is not a whole number", "Enter a number from 1 to 65535"
        )
        return None
    return None if number is None else int(number)


def _read_number(
    field: str, value: object, lowest: float, highest: float, problems: Problems
) -> float | None:
    value = value.strip() or None if isinstance(value, str) else value
    if value is None or field in problems:
        return None
    remedy = f"Enter a number from {lowest} to {highest}"
    number = _as_float(value)
    if number is None:
        problems.add(field, f"{problems.quote(value)} is not a number", remedy)
    elif not lowest <= number <= highest:
        problems.add(field, f"{problems.quote(value)} is out of range", remedy)
    else:
        return number
    return None


def _as_float(value: object) -> float | None:
    # True is an int in Python and would pass as 1.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def reject_redacted(field: str, value: object, problems: Problems) -> None:
    """Add a problem if a value is Airflow's redaction, or contains it at any depth."""
    if _contains_redaction(value):
        problems.add(
            field,
            f"it contains {REDACTED}, Airflow's redaction, which was saved by mistake",
            "Enter the value again",
        )


def _contains_redaction(value: object) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if REDACTED in item:
                return True
        elif isinstance(item, Mapping):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending.extend(item)
    return False


# Names of extras, in lower case and without punctuation, whose values belong in a standard field: Airflow always
# encrypts and masks the password, but an extra only under certain names.
_STANDARD_FIELDS = {
    "accounts": "host",
    "accountshost": "host",
    "accountsurl": "host",
    "clientid": "login",
    "clientkey": "password",
    "clientsecret": "password",
    "host": "host",
    "login": "login",
    "password": "password",
    "port": "port",
    "secret": "password",
}

# Low enough for a letter lost, doubled or swapped; high enough to accept fields of later versions, which may
# share a word with one of today's.
_CLOSENESS = 0.85

_FORM_PREFIX = "extra__bloq__"


def reject_misplaced_names(names: Iterable[str], problems: Problems) -> None:
    """Add a problem for each name that is certainly a mistake; other unknown names are accepted.

    :param names: The keys of the connection's extra.
    :param problems: Collects the problems.
    """
    for name in names:
        if name in EXTRA_FIELDS:
            continue
        if (standard := _STANDARD_FIELDS.get(_bare(name))) is not None:
            # Keeps an extra called "password" apart from the standard field of that name.
            field = f"extra.{name}" if name in _STANDARD_FIELDS.values() else name
            problems.add(field, "it does not belong in extra", f"Enter it as the connection's {standard}")
        elif (intended := _near_miss(name)) is not None:
            problems.add(name, "there is no such field", f"Did you mean {intended}?")


def _near_miss(name: str) -> str | None:
    by_bare_name = {_bare(known): known for known in EXTRA_FIELDS}
    if (same := by_bare_name.get(_bare(name))) is not None:
        return same
    close = get_close_matches(name.lower(), list(EXTRA_FIELDS), n=1, cutoff=_CLOSENESS)
    return close[0] if close else None


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower().removeprefix(_FORM_PREFIX)))


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
        raise _InvalidUrl(f"{_CHAIN} takes the place of the domain itself", remedy)
