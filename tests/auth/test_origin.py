"""Origins: equal ones have one spelling, and URLs that parsers could read differently are rejected."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import requests
from urllib3.util import parse_url
from yarl import URL

from airflow_provider_bloq.auth.origin import Origin

pytestmark = pytest.mark.logic

PLAIN = {
    "https://accounts.bloq.cloud": ("https", "accounts.bloq.cloud", 443),
    "https://accounts.bloq.cloud/": ("https", "accounts.bloq.cloud", 443),
    "https://accounts.bloq.cloud:443/auth/token": ("https", "accounts.bloq.cloud", 443),
    "HTTPS://Accounts.BLOQ.cloud": ("https", "accounts.bloq.cloud", 443),
    "http://localhost:4000": ("http", "localhost", 4000),
    "http://localhost": ("http", "localhost", 80),
    "http://127.0.0.1:80": ("http", "127.0.0.1", 80),
    "https://10.1.2.3:8545/": ("https", "10.1.2.3", 8545),
    "http://[::1]:4000/x": ("http", "::1", 4000),
    "https://[2001:DB8:0:0::1]": ("https", "2001:db8::1", 443),
    "https://a_service.internal": ("https", "a_service.internal", 443),
    "https://bücher.example": ("https", "xn--bcher-kva.example", 443),
    "https://BÜCHER.example": ("https", "xn--bcher-kva.example", 443),
    "https://xn--bcher-kva.example": ("https", "xn--bcher-kva.example", 443),
    "https://例え.example": ("https", "xn--r8jz45g.example", 443),
    "https://host.example?next=https://evil.example/": ("https", "host.example", 443),
    "https://host.example#@evil.example/": ("https", "host.example", 443),
    "https://host.example?@evil.example/": ("https", "host.example", 443),
    "https://host.example/@evil.example/": ("https", "host.example", 443),
    "https://host.example/a:b@c": ("https", "host.example", 443),
    "https://1.host.example": ("https", "1.host.example", 443),
}

HOSTILE = [
    "",
    "host.example",
    "//host.example/",
    "https:host.example",
    "https:/host.example",
    "https://",
    "https:///host.example",
    "https://?x",
    "https://:443",
    "ftp://host.example",
    "file:///etc/passwd",
    "javascript://host.example/%0aalert(1)",
    # Which part is the host?
    "https://good.example@evil.example/",
    "https://good.example:443@evil.example/",
    "https://user:pass@good.example/",
    "https://@good.example/",
    "https://evil.example\\@good.example/",
    "https://good.example\\.evil.example/",
    "https:\\\\good.example/",
    "https://good.example/\\evil",
    "https://good.example%2eevil.example/",
    "https://good.example%40evil.example/",
    "https://g%6fod.example/",
    "https://good.example;evil.example/",
    "https://good.example,evil.example/",
    # Blanks and control characters, which some parsers drop and some cut at.
    " https://good.example/",
    "https://good.example/ ",
    "https://good.example /",
    "https://good.\texample/",
    "https://good.example\n.evil.example/",
    "https://good.example\r\nHost: evil.example/",
    "https://good.example\x00.evil.example/",
    "https://good.example\x7f/",
    "https://good.example/a\x07b",
    "https://good.example\u00a0/",
    "https://good.example\u200b/",
    "https://good.example\u202e/",
    "ht\ntps://good.example/",
    # Numbers that some resolvers read as addresses.
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.0.0.1/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.1.1/",
    "http://256.0.0.1/",
    "http://127.0.0.0x1/",
    "http://1.2.3.4../",
    # IPv6 in doubtful spellings.
    "http://::1/",
    "http://[::1/",
    "http://::1]/",
    "http://[::1]x/",
    "http://[::1]4000/",
    "http://[]/",
    "http://[::1%25lo]/",
    "http://[fe80::1%eth0]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[v1.abc]/",
    "http://[127.0.0.1]/",
    "http://[localhost]/",
    # Ports.
    "https://host.example:/",
    "https://host.example:0/",
    "https://host.example:65536/",
    "https://host.example:-1/",
    "https://host.example:+443/",
    "https://host.example:0443/",
    "https://host.example:4 43/",
    "https://host.example:443:443/",
    "https://host.example:https/",
    "https://host.example:４４３/",
    # Invalid names, and names that libraries convert differently.
    "https://./",
    "https://.host.example/",
    "https://host..example/",
    "https://host.example../",
    "https://-host.example/",
    "https://host-.example/",
    "https://*.example/",
    "https://ho{st}.example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + ".".join(["a" * 60] * 5) + "/",
    "https://faß.example/",
    "https://ＨＯＳＴ.example/",
    "https://host。example/",
    "https://\u212aelvin.example/",
    "https://ﬁn.example/",
    "https://a\u00adb.example/",
    "https://a\u200db.example/",
]


def same_host(one: str, other: str) -> bool:
    """Compare names as text and addresses as numbers."""
    try:
        return ip_address(one.strip("[]")) == ip_address(other)
    except ValueError:
        return one == other


def test_reads_scheme_host_and_port() -> None:
    for url, expected in PLAIN.items():
        origin = Origin.of(url)
        assert (origin.scheme, origin.host, origin.port) == expected


def test_ambiguous_urls_are_rejected() -> None:
    for url in HOSTILE:
        try:
            origin = Origin.of(url)
        except ValueError as error:
            # The message contains no part of the URL that could be secret.
            assert str(error).startswith("it")
            assert "pass" not in str(error).replace("password", "")
            assert "evil" not in str(error)
        else:
            pytest.fail(f"{url!r} was read as {origin}")


def test_the_message_gives_the_reason() -> None:
    for url, reason in (
        ("https://user:pass@good.example/", "it holds a user name or password"),
        ("https://good.example%2eevil.example/", "its host is percent-encoded or has a zone"),
        ("http://127.1/", "its host is a number but no IPv4 address of four plain parts"),
        ("https://faß.example/", "write it in its ASCII form"),
    ):
        with pytest.raises(ValueError, match=reason):
            Origin.of(url)


def test_agrees_with_where_requests_connects_to() -> None:
    for url in PLAIN:
        prepared = requests.Request("GET", url).prepare().url or ""
        parsed = parse_url(prepared)
        origin = Origin.of(url)
        assert origin == Origin.of(prepared)
        assert same_host(parsed.host or "", origin.host)
        port = parsed.port or {"http": 80, "https": 443}[parsed.scheme or ""]
        assert (parsed.scheme, port) == (origin.scheme, origin.port)


def test_agrees_with_where_aiohttp_connects_to() -> None:
    for url in PLAIN:
        parsed = URL(url)
        origin = Origin.of(url)
        assert (parsed.scheme, parsed.raw_host, parsed.port) == (origin.scheme, origin.host, origin.port)
        assert Origin.of(str(parsed)) == origin


def test_a_url_that_requests_repairs_is_still_rejected_or_goes_where_it_says() -> None:
    """Its signer judges what requests makes of a hostile URL: it must not turn into another host."""
    repaired = 0
    for url in HOSTILE:
        try:
            prepared = requests.Request("GET", url).prepare().url
            origin = Origin.of(prepared or "")
        except (requests.RequestException, ValueError, UnicodeError):
            continue
        repaired += 1
        assert same_host(parse_url(prepared or "").host or "", origin.host), url
        assert same_host(URL(prepared or "").raw_host or "", origin.host), url
    assert repaired


def test_a_trailing_dot_does_not_matter() -> None:
    assert Origin.of("https://host.example./x") == Origin.of("https://host.example")
    assert Origin.of("http://127.0.0.1.") == Origin.of("http://127.0.0.1")


def test_origins_differ_by_scheme_host_and_port() -> None:
    base = Origin.of("https://host.example")

    for other in ("http://host.example:443", "https://host.example:444", "https://host.example.evil"):
        assert Origin.of(other) != base


def test_recognises_this_machine() -> None:
    for url in (
        "http://127.0.0.1",
        "http://127.255.1.2:99",
        "http://[::1]",
        "http://[0:0:0:0:0:0:0:1]",
        "http://localhost",
        "http://LOCALHOST.",
        "http://bloq.localhost",
    ):
        assert Origin.of(url).is_loopback, url
    for url in (
        "http://128.0.0.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::2]",
        "http://[::7f00:1]",
        "http://notlocalhost",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://169.254.169.254",
    ):
        assert not Origin.of(url).is_loopback, url


def test_is_written_as_the_url_of_its_root() -> None:
    for url, text in (
        ("HTTPS://Host.example:443/x?y", "https://host.example"),
        ("https://host.example:8545", "https://host.example:8545"),
        ("http://[::1]:4000/", "http://[::1]:4000"),
        ("http://[::1]", "http://[::1]"),
    ):
        assert str(Origin.of(url)) == text
        assert Origin.of(str(Origin.of(url))) == Origin.of(url)
