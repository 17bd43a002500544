"""How many connections to the remotes are open at once, and when a read is tried again.

Hosts limit connections: OpenSSH drops some if more than ten have not logged in yet (sshd_config, MaxStartups), and
proxies limit the connections of one address. After a host drops a connection, fewer are opened at once, and a read is
tried again after a pause, or after the time that the host asks for (see `gli.git.http`). A push is tried again by its
operation, which knows whether the push may have landed. Over ssh an operation logs in once (see `gli.git.ssh`), and
more often only where there are many repositories. What counts here is then a session of such a connection.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from gli.git import http, ssh
from gli.git.command import GitFailed, git

T = TypeVar("T")
DEFAULT = 8
PAUSES_S = (0.3, 0.8, 2.0, 4.0, 8.0)
"""Before each further attempt; each is drawn between half and one and a half of it, so that two machines part."""
_OF_ONE_LINE = 16
"""How many repositories share one ssh connection: a host takes ten sessions of one (sshd_config, MaxSessions)."""
LONGEST_S = 120.0
"""A host that asks to wait for longer is not waited for."""
_DROPPED = re.compile(
    r"kex_exchange_identification|ssh_exchange_identification|Connection (?:reset|closed)|closed by remote host"
    r"|Connection timed out|Broken pipe|early EOF|unexpected disconnect|Empty reply from server|RPC failed"
    r"|the remote end hung up|returned error: (?:429|500|502|503|504)|transfer closed with|SSL_read|recv failure"
    r"|no answer within",
    re.IGNORECASE,
)
LACKING = "the receiving end does not support"
"""What git says where its settings ask for what the host does not have, such as signed pushes."""
_BUSY = re.compile(r"returned error: (?:429|503)")
_SILENT = re.compile(r"no answer within|connect to .*: Connection timed out", re.IGNORECASE)


def is_dropped(error: GitFailed) -> bool:
    """Whether the connection was dropped or the host was too busy: a second attempt may succeed."""
    ours = ("rejected]", "repository's object format", LACKING)  # git itself ended it, for a reason that stays
    return _DROPPED.search(error.stderr) is not None and not any(reason in error.stderr for reason in ours)


def is_silent(error: GitFailed) -> bool:
    """Whether the host answered nothing for so long that another attempt would only take as long."""
    return _SILENT.search(error.stderr) is not None


def _reached(url: str, git_dir: Path) -> str:
    """The address that git connects to where it is told to fetch from `url` (git-config, url.BASE.insteadOf)."""
    if url.startswith(("/", "file:")):
        return url
    try:
        return git("ls-remote", "--get-url", "--", url, git_dir=git_dir).strip()
    except GitFailed:
        return url  # git says why where it connects


class Connections:
    """The connections of one command to all remotes."""

    def __init__(self, most: int = DEFAULT) -> None:
        self.most = most
        """How many may be open at once, or sessions of one ssh connection; less after a host has dropped one."""
        self.say: Callable[[str], object] = lambda line: None
        self._asked_s = 0.0
        self._lines: Sequence[Mapping[str, str]] = [{}]
        self._open = [0]
        """How many sessions each line has."""
        self._mine = threading.local()
        self._changed = threading.Condition()

    @property
    def environment(self) -> Mapping[str, str]:
        """For a git of this thread that connects: which ssh connection it shares, or where it notes what the host says.
        Read it while `one` holds a connection.
        """
        return self._lines[getattr(self._mine, "line", 0)]

    @contextmanager
    def shared(self, url: str, git_dir: Path, say: Callable[[str], object], repositories: int = 1) -> Iterator[None]:
        """While the block runs, each git that connects shares what it can with the others (see `gli.git.ssh`,
        `gli.git.http`). `url` and `git_dir` are those of one repository; `say` is told why there is a pause.
        """
        reached, lines = _reached(url, git_dir), min(self.most, -(-repositories // _OF_ONE_LINE))
        with ssh.shared(reached, git_dir, lines) as logins, http.heard(reached) as headers:
            self._lines, self.say = [{**login, **headers} for login in logins or ({},)], say
            self._open = [0] * len(self._lines)
            yield

    @contextmanager
    def one(self) -> Iterator[None]:
        """Waits until one more connection may be open, and holds it."""
        with self._changed:
            self._changed.wait_for(lambda: sum(self._open) < self.most * len(self._lines))
            line = self._open.index(min(self._open))
            self._open[line] += 1
        self._mine.line = line
        try:
            with self.waiting():
                yield
        finally:
            self._mine.line = 0
            with self._changed:
                self._open[line] -= 1
                self._changed.notify_all()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A connection that is open before its turn. It is not counted: what it waits for may need a connection, and
        there may be fewer of them than when it was opened.
        """
        try:
            yield
        except GitFailed as e:
            if is_dropped(e):
                self.most = max(1, self.most // 2)
                self._asked_s = http.asked_s(self.environment) if _BUSY.search(e.stderr) else 0.0
                if self._asked_s > LONGEST_S:
                    said = f"{e.stderr.rstrip()}\nremote: it asks to wait {self._asked_s:.0f} s"
                    raise GitFailed(e.command, e.code, said) from None
            raise

    def pause_s(self, usual: float) -> float:
        """How long to wait before the next attempt: `usual`, or as long as the host has asked for, which is said."""
        asked, self._asked_s = self._asked_s, 0.0
        if not 0 < asked <= LONGEST_S:
            return usual
        self.say(f"the host takes no more requests for now, and asks to wait {asked:.0f} s")
        return asked

    def reading(self, work: Callable[[], T]) -> T:
        """The result of `work`, which only reads. Tries again if a connection was dropped, but not if the host said
        nothing, which has taken minutes, or asks to wait for longer than that. Raises `GitFailed`.
        """
        for pause in PAUSES_S:
            try:
                with self.one():
                    return work()
            except GitFailed as e:
                if not is_dropped(e) or is_silent(e) or self._asked_s > LONGEST_S:
                    raise
            time.sleep(self.pause_s(pause * random.uniform(0.5, 1.5)))
        with self.one():
            return work()
