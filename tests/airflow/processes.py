"""The processes below another."""

from __future__ import annotations

from pathlib import Path

__all__ = ["descendants"]


def descendants(ancestor: int, part: str) -> list[int]:
    """Return the ids of all processes below one whose command line holds a word."""
    parents: dict[int, int] = {}
    words: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in parentheses, may hold anything.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return [pid for pid, line in words.items() if part in line and _is_below(pid, ancestor, parents)]


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != ancestor:
        pid = parents[pid]
    return pid == ancestor
