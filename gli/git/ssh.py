"""One ssh connection for all of an operation's git commands: each would else log in by itself, a promotion 24 times.
Some more of them where there are many repositories: their logins run side by side.

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
from collections.abc import Iterator, Mapping, Sequence
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
def shared(url: str, git_dir: Path, connections: int = 1) -> Iterator[Sequence[Mapping[str, str]]]:
    """Open connections to the host of `url`, if git would reach it with ssh; yields for each the environment variables
    with which a git uses it, and ends them. Yields nothing if there is nothing to share. `git_dir` is a repository
    whose settings git follows.
    """
    host = _destination(url)
    command = _command(git_dir) if host else None
    if command is None or _OWN.search(_said(f"{command} -G {host}", _ASKED_S) or "controlpath ?"):
        yield ()
        return
    import tempfile  # gli pull must start at once, and is often local

    with tempfile.TemporaryDirectory(prefix="gli-ssh-", ignore_cleanup_errors=True) as folder:
        each = [f"{command} -o ControlPath={shlex.quote(folder)}/{n}%r@%n:%p" for n in range(connections)]
        logins = [(one, _begun(f"{one} {_MASTER} {host}")) for one in each]
        opened: list[str] = []
        try:
            opened += (one for one, login in logins if _ended(login, _LOGIN_S) is not None)
            yield [{"GIT_SSH_COMMAND": f"{one} -o ControlMaster=no"} for one in opened]
        finally:
            for end in [_begun(f"{one} -O exit {host}") for one in opened]:
                _ended(end, _ASKED_S)


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
    return _ended(_begun(command), most_s)


def _begun(command: str) -> subprocess.Popen[bytes] | None:
    """An ssh that runs from now on; None if it can't be started."""
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
    except OSError:
        return None


def _ended(process: subprocess.Popen[bytes] | None, most_s: float) -> str | None:
    """What ssh printed until its end; None if it failed, or took longer than `most_s`."""
    if process is None:
        return None
    with process:
        try:
            said, _ = process.communicate(timeout=most_s)
        except BaseException as e:
            process.kill()
            if not isinstance(e, subprocess.TimeoutExpired):
                raise
            return None
    return said.decode(errors="replace") if process.returncode == 0 else None
