"""The parts of a Markdown page that a test can hold to their word: code blocks, links and headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "anchors", "blocks", "links"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and where it begins."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def blocks(path: Path, language: str | None = None) -> list[Block]:
    """Return the blocks of a page, in their order."""
    page = path.read_text(encoding="utf-8")
    found = [
        Block(path, page.count("\n", 0, fence.start()) + 2, fence[1], fence[2])
        for fence in _FENCE.finditer(page)
    ]
    return [block for block in found if language in (None, block.language)]


def links(path: Path) -> list[str]:
    """Return where the page's links lead, without those into the web."""
    found = _LINK.findall(_prose(path))
    return [link for link in found if not link.startswith(("http://", "https://", "mailto:"))]


def anchors(path: Path) -> set[str]:
    """Return the fragments by which the page's headings can be linked to, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in _HEADING.findall(_prose(path))
    }


def _prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))
