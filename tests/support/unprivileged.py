"""Run a command as a user who is not root, for servers that refuse to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = [
    "OrdinaryUser",
    "ordinary_user",
]


_TOOL = "setpriv"
_NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class OrdinaryUser:
    """Who a command runs as.

    :param prefix: What the command is preceded by; empty where this process is no root.
    :param uid: Id of the user and of its group; None where it is the one of this process.
    """

    prefix: tuple[str, ...] = ()
    uid: tuple[int, int] | None = None

    def give(self, folder: Path) -> None:
        """Make the user the owner of a folder and of all that is in it."""
        if self.uid is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, *self.uid, follow_symlinks=False)


def ordinary_user(remedy: str) -> OrdinaryUser:
    """Return the user of this process, or, where that is root, one whom nothing belongs to.

    :param remedy: What else the reader can do.
    :raises TestingSetupError: This process is root and cannot run a command as another user.
    """
    if os.geteuid() != 0:
        return OrdinaryUser()
    tool = shutil.which(_TOOL)
    if tool is None:
        raise TestingSetupError(
            f"it does not run as root, and there is no {_TOOL} to run it otherwise", remedy
        )
    nobody = pwd.getpwnam(_NOBODY)
    uid, gid = nobody.pw_uid, nobody.pw_gid
    # The kernel forgets the tie to the parent's death when the user changes; the tool ties it anew.
    prefix = (tool, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--pdeathsig=KILL", "--")
    return OrdinaryUser(prefix, (uid, gid))
