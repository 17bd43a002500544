"""How many connections to the remotes are open at once, and when reading is tried again.

Hosts limit connections: OpenSSH drops some of more than ten that have not logged in yet (sshd_config, MaxStartups), and
proxies limit those of one address. Where a host drops one, fewer are opened at once and reading is tried again after a
pause; a push is tried again by its operation, which knows whether it may have landed.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gli.git.command import GitFailed

T = TypeVar("T")
DEFAULT = 8
PAUSES_S = (0.3, 0.8, 2.0, 4.0, 8.0)
"""Before each further attempt; each is drawn between half and one and a half of it, so that two machines part."""
_DROPPED = re.compile(
    r"kex_exchange_identification|ssh_exchange_identification|Connection (?:reset|closed)|closed by remote host"
    r"|Connection timed out|Broken pipe|early EOF|unexpected disconnect|Empty reply from server|RPC failed"
    r"|the remote end hung up|returned error: (?:429|500|502|503|504)|transfer closed with|SSL_read|recv failure"
    r"|no answer within",
    re.IGNORECASE,
)


def is_dropped(error: GitFailed) -> bool:
    """Whether the connection was dropped, or the host was too busy: the same question may be answered next time."""
    return _DROPPED.search(error.stderr) is not None and "rejected]" not in error.stderr


class Connections:
    """The connections of one command to all remotes."""

    def __init__(self, most: int = DEFAULT) -> None:
        self.most = most
        """How many may be open at once; less after a host has dropped one."""
        self._open = 0
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        """A connection; waits until there may be one more."""
        with self._changed:
            self._changed.wait_for(lambda: self._open < self.most)
            self._open += 1
        try:
            yield
        except GitFailed as e:
            if is_dropped(e):
                self.most = max(1, self.most // 2)
            raise
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def reading(self, work: Callable[[], T]) -> T:
        """What `work` returns, which only reads; tried again where a connection was dropped. Raises `GitFailed`."""
        for pause in PAUSES_S:
            try:
                with self.one():
                    return work()
            except GitFailed as e:
                if not is_dropped(e):
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))
        with self.one():
            return work()
