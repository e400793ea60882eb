"""Texts from outside, which may hold halves of characters: a header's stray bytes, or what JSON writes as an escape."""

from __future__ import annotations

import hmac

__all__ = ["as_bytes", "is_whole", "same_secret"]


def as_bytes(text: str) -> bytes:
    """Encode a text, whatever it holds."""
    return text.encode(errors="surrogatepass")


def is_whole(text: str) -> bool:
    """Tell whether a text holds whole characters only, so that UTF-8 can write it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def same_secret(one: str, other: str) -> bool:
    """Compare two secrets in a time that does not tell where they differ."""
    return hmac.compare_digest(as_bytes(one), as_bytes(other))
