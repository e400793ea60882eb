"""A path key of Connect: which text can be one, and which URL shows one."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import REDACTED

__all__ = ["CONNECT_DOMAINS", "is_path_key", "shows_path_key"]

#: Below these, each chain has a host of Connect.
CONNECT_DOMAINS = ("connect.bloq.cloud", "connect.bloqclouddev.com")

# What stands in a URL as it is: a key that had to be quoted there would be logged in a form that nobody masks.
_KEY = re.compile(r"[A-Za-z0-9._~-]{1,200}", re.ASCII)


def is_path_key(text: str) -> bool:
    """Tell whether a text can be a path key.

    :param text: The text, without white space around it.
    """
    return _KEY.fullmatch(text) is not None and text not in (".", "..") and REDACTED not in text


def shows_path_key(url: str) -> bool:
    """Tell whether a URL is one of Bloq's Connect with a path key in it.

    Scheme and port do not matter: by a wrong one, a key is shown as well.

    :param url: An absolute URL; ``{chain}`` may stand in its host.
    """
    try:
        origin = Origin.of(url.replace("{chain}", "any-chain"))
    except ValueError:
        return False
    if not any(f".{origin.host}".endswith(f".{domain}") for domain in CONNECT_DOMAINS):
        return False
    segments = unquote(urlsplit(url).path).lower().split("/")
    # By "v1" alone others go as well; what comes after it is the key.
    return "v1" in segments and any(segments[segments.index("v1") + 1 :])
