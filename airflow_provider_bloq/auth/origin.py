"""The origin of a URL, which decides whether a request may carry a token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

__all__ = [
    "Origin",
]


_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
_LOOPBACK_V6 = IPv6Address("::1")

# The authority ends at the first of / ? #, as in all HTTP clients used here.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)", re.ASCII)
_BRACKETED = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]+)\](?::(?P<port>.*))?", re.DOTALL)
_NAMED = re.compile(r"(?P<host>[^:\[\]]*)(?::(?P<port>.*))?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# Resolvers read a name whose last label looks like a number as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Scheme, host and port in canonical form.

    :param scheme: ``http`` or ``https``.
    :param host: Lower-case name in ASCII (IDNA), or an IP address, an IPv6 one without brackets.
    :param port: Port, by default that of the scheme.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of a URL.

        Anything that two URL parsers could read differently is refused: this decides about the token, while another
        parser decides where the request goes. No message quotes the URL, which may hold a password or a path key.

        :param url: An absolute http or https URL.
        :raises ValueError: The URL has no origin, or an ambiguous one.
        """
        _refuse_hidden_characters(url)
        match = _URL.match(url)
        if match is None:
            raise ValueError("it is not an absolute URL such as https://host/path")
        scheme = match["scheme"].lower()
        if scheme not in _DEFAULT_PORTS:
            raise ValueError("its scheme is neither http nor https")
        authority = match["authority"]
        if not authority:
            raise ValueError("it names no host")
        if "@" in authority:
            raise ValueError("it holds a user name or password")
        if "%" in authority:
            raise ValueError("its host is percent-encoded or has a zone")
        bracketed = authority.startswith("[")
        parts = (_BRACKETED if bracketed else _NAMED).fullmatch(authority)
        if parts is None:
            raise ValueError("its host cannot be read; an IPv6 address belongs in brackets")
        host = _ipv6(parts["host"]) if bracketed else _name_or_ipv4(parts["host"])
        return cls(scheme, host, _port(parts["port"], scheme))

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by name: 127.0.0.0/8, ::1, ``localhost`` or ``*.localhost``."""
        if ":" in self.host:
            return IPv6Address(self.host) == _LOOPBACK_V6
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return IPv4Address(self.host) in _LOOPBACK_V4
        except ValueError:
            return False

    @property
    def netloc(self) -> str:
        """Host as written in a URL, with the port if it is not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def _refuse_hidden_characters(url: str) -> None:
    # Some parsers drop these or read a backslash as a slash, which moves the end of the host.
    if "\\" in url or not url.isprintable() or any(character.isspace() for character in url):
        raise ValueError("it holds a backslash, a blank or a control character")


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ValueError("its host is not a valid IPv6 address") from None
    if address.ipv4_mapped is not None:
        raise ValueError("its host is an IPv4 address written as IPv6; write the IPv4 address")
    return address.compressed


def _name_or_ipv4(text: str) -> str:
    name = _ascii_name(text).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise ValueError("its host is a number but no IPv4 address of four plain parts") from None
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is not a valid name")
    return name


def _ascii_name(text: str) -> str:
    """Encode a name by IDNA, unless IDNA would change it.

    Versions of IDNA and libraries differ in which characters they replace (``ß``, ``ς``, full-width letters and
    dots). They agree on names in which only upper case is replaced.
    """
    name = text.lower()
    if name.isascii():
        # lower() turns some characters, such as the Kelvin sign, into ASCII; other parsers may not.
        if not text.isascii():
            raise ValueError("its host holds letters that only look like ASCII")
        return name
    try:
        encoded = name.encode("idna")
        unchanged = encoded.decode("idna") == name
    except UnicodeError:
        raise ValueError("its host is not a valid international name") from None
    if not unchanged:
        raise ValueError("its host holds characters that IDNA replaces; write it in its ASCII form (xn--)")
    return encoded.decode("ascii")


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _DEFAULT_PORTS[scheme]
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError("its port is not a number from 1 to 65535")
    return int(text)
