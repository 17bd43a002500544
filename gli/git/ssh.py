"""One ssh connection for all of an operation's git commands: each would else log in by itself, a promotion 24 times.

ssh opens the connection first (the master of its multiplexing), and each git's ssh is told where it is. An ssh that
finds no master there, or is refused one more session, connects by itself. So what can't be shared works as before.

A git that uses another program than ssh is left alone, and so is an ssh whose settings share connections already.

Source of truth: ssh(1) (-G, -M, -O), ssh_config(5) (ControlPath, ControlPersist), git(1) (GIT_SSH_COMMAND, "GIT URLS"),
git-config(1) (core.sshCommand).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gli.git.command import GitFailed, environment, git

_LEFT_S = 300
"""After its last session the connection ends by itself, where gli was killed and could not end it."""
_MASTER = f"-f -N -M -o ControlPersist={_LEFT_S} -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
_ASKED_S, _LOGIN_S = 5.0, 30.0
_URL = re.compile(r"ssh://(?P<at>\w[\w.+~-]*@)?(?P<host>\w[\w.-]*)(?::(?P<port>\d+))?/")
_SHORT = re.compile(r"(?P<at>\w[\w.+~-]*@)?(?P<host>\w[\w.-]+):(?P<port>)(?!//)")
_OWN = re.compile(r"^controlpath (?!none$)", re.MULTILINE | re.IGNORECASE)


@contextmanager
def shared(url: str, git_dir: Path) -> Iterator[Mapping[str, str]]:
    """Open a connection to the host of `url`, if git would reach it with ssh; yields the environment variables with
    which each git uses it, and ends it. Yields no variables if there is nothing to share. `git_dir` is a repository
    whose settings git follows.
    """
    host = _destination(url)
    command = _command(git_dir) if host else None
    if command is None or _OWN.search(_said(f"{command} -G {host}", _ASKED_S) or "controlpath ?"):
        yield {}
        return
    import tempfile  # gli pull must start at once, and is often local

    with tempfile.TemporaryDirectory(prefix="gli-ssh-", ignore_cleanup_errors=True) as folder:
        command += f" -o ControlPath={shlex.quote(folder)}/%r@%n:%p"
        if _said(f"{command} {_MASTER} {host}", _LOGIN_S) is None:
            yield {}
            return
        try:
            yield {"GIT_SSH_COMMAND": f"{command} -o ControlMaster=no"}
        finally:
            _said(f"{command} -O exit {host}", _ASKED_S)


def usable(shared: Mapping[str, str], git_dir: Path) -> Mapping[str, str]:
    """The variables that `shared` has yielded, if git in this repository calls ssh as in the one that `shared` was
    given; else none: a clone may have a key of its own.
    """
    if "GIT_SSH_COMMAND" not in shared or os.environ.get("GIT_SSH_COMMAND"):
        return shared
    return shared if shared["GIT_SSH_COMMAND"].startswith(f"{_command(git_dir)} -o ControlPath=") else {}


def _destination(url: str) -> str | None:
    """The arguments that name the host to ssh, as git gives them."""
    found = _URL.match(url) or _SHORT.match(url)
    if found is None:
        return None
    return (f"-p {found['port']} " if found["port"] else "") + f"{found['at'] or ''}{found['host']}"


def _command(git_dir: Path) -> str | None:
    """How git calls ssh, as a shell reads it; None if it calls another program."""
    command = os.environ.get("GIT_SSH_COMMAND", "")
    try:
        command = command or git("config", "--get", "core.sshCommand", git_dir=git_dir, accept=(0, 1)).strip()
        program = shlex.split(command or os.environ.get("GIT_SSH", "ssh"))[0]
    except (GitFailed, ValueError, IndexError):
        return None
    variant = os.environ.get("GIT_SSH_VARIANT", "ssh")
    is_ssh = Path(program).name == "ssh" and variant in ("ssh", "auto")
    return (command or shlex.quote(program)) if is_ssh else None


def _said(command: str, most_s: float) -> str | None:
    """What ssh printed; None if it failed."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            timeout=most_s,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
