"""Follows a page that is to be followed: its shell blocks in one shell, its other blocks into files it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.docs.markdown import Block, blocks

__all__ = ["file_of", "script"]

#: What a page says before a block that is to become a file.
_WRITE = re.compile(r"[Ww]rite (?:that|this) into `([^`]+)`(?:,[^`]*)?:$")

_BEGIN = """\
exec 2>&1
# A shell that fails leaves nothing running.
trap 'status=$?; kill $(jobs -p) 2> /dev/null || true; wait; exit $status' EXIT
set -e
"""
_STEP = "printf '%s s: %s\\n' $SECONDS {name}\n"


def file_of(block: Block) -> str | None:
    """Return the file that the page tells to write a block into; None if it tells of none."""
    lines = block.path.read_text(encoding="utf-8").splitlines()
    # Above the first line of the block: its fence, and an empty line.
    before = " ".join(lines[max(0, block.line - 6) : block.line - 3])
    found = _WRITE.search(before)
    return found[1] if found else None


def script(page: Path, rewriting: Sequence[tuple[str, str]]) -> str:
    """Make a script of what the page tells, each block announced with its line and the time so far.

    :param rewriting: What is written otherwise in the shell blocks. Each must occur.
    """
    steps = [(block, _step(block)) for block in blocks(page) if block.language != "text"]
    text = "".join(_STEP.format(name=shlex.quote(str(block))) + step for block, step in steps)
    for written, instead in rewriting:
        assert written in text, f"{page.name} has no {written!r} any more"
        text = text.replace(written, instead)
    return f"{_BEGIN}{text}printf '%s s: the end\\n' $SECONDS\n"


def _step(block: Block) -> str:
    if block.language == "bash":
        return block.text
    name = file_of(block)
    assert name, f"{block} is to be written into no file"
    path = shlex.quote(name)
    return f"mkdir -p $(dirname {path})\ncat > {path} <<'END OF FILE'\n{block.text}END OF FILE\n"
