"""A push that comes after others: it connects while they are under way, and sends nothing before all of them have
landed.

git runs the hook `pre-push` after it has connected and has read the remote's refs, and before it sends anything. The
hook waits at a pipe for permission to go on. If the pipe is closed instead, because another push failed or because the
promoter died, git ends without having sent anything.

git waits for ever where it can't start a hook (2.39: `finish_command` after a failed start waits for any child, and the
connection is one). A program that a process has open for writing can't be started, and a child has its parent's open
files until it is another program. So one hook for all pushes is written while nothing else runs, and tried.

Source of truth: githooks(5), pipe(7).
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gli.git.command import GitFailed

_GO = b"go\n"
_HOOK = """\
#!/bin/sh
read -r answer <"/dev/fd/$GLI_TURN" && test "$answer" = go
"""


class NotItsTurn(GitFailed):
    """The push was held back, because another push did not land. It sent nothing."""


class Turn:
    """The turn of one push, which comes when each of the `others` has landed. With the folder of the hook, the push
    connects before its turn.
    """

    def __init__(self, others: Collection[str], hooks: Path | None) -> None:
        self._hooks = hooks
        self._left = set(others)
        self._counting = threading.Lock()
        self._reads, self._writes = os.pipe()
        self._may_come = True
        if not others:
            self._come()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self._shut()
        os.close(self._reads)

    @property
    def has_come(self) -> bool:
        """Whether all the others have landed."""
        return not self._left

    @contextmanager
    def after(self, name: str) -> Iterator[None]:
        """The push of one of the others. It has landed when the block ends; after an error in the block the turn never
        comes. A push that is not one of the others changes nothing.
        """
        if name not in self._left:
            yield
            return
        try:
            yield
        except BaseException:
            self._shut()
            raise
        with self._counting:
            self._left.remove(name)
            if not self._left:
                self._come()

    @contextmanager
    def awaited(self) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
        """What a `git push` needs to wait for its turn: options of git, and options of `git()`. Raises `NotItsTurn` if
        the turn never came.
        """
        if self._hooks is None and os.read(self._reads, len(_GO)) != _GO:
            raise NotItsTurn(("push",), 1, "held back")
        options = ("-c", f"core.hooksPath={self._hooks or os.devnull}")
        try:
            yield options, {"fds": (self._reads,), "env": {"GLI_TURN": str(self._reads)}}
        except GitFailed:
            if self._may_come:
                raise
            raise NotItsTurn(("push",), 1, "held back") from None

    def _come(self) -> None:
        os.write(self._writes, _GO)

    def _shut(self) -> None:
        with self._counting:
            if self._writes >= 0:
                self._may_come = self.has_come
                os.close(self._writes)
                self._writes = -1


def hooks_in(state: Path) -> Path | None:
    """The folder of the hook, below the state folder; None if git could not run the hook there. Call it while no other
    thread starts programs.
    """
    hooks = state / "hooks"
    hook = hooks / "pre-push"
    try:
        if not hook.is_file() or hook.read_bytes() != _HOOK.encode():  # after a power failure the file may be empty
            hooks.mkdir(exist_ok=True)
            part = hooks / "pre-push.part"
            part.write_text(_HOOK, encoding="utf-8")
            part.chmod(0o755)
            part.replace(hook)
        tried = subprocess.run([hook], input=_GO, env={"GLI_TURN": "0"}, capture_output=True, check=False)
    except OSError:
        return None
    return hooks if tried.returncode == 0 else None
