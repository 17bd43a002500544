"""The eight repositories, and git as a program: where each lives, one command in one of them, one job in all of them.

git may never ask for a password: it runs in a session of its own, without a terminal, so Ctrl-C does not reach it
either; whoever started it decides what becomes of it. Source of truth: git(1), git-ls-remote.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gli.common.errors import UsageError
from gli.config import toml_tables
from gli.git import name_rules

T = TypeVar("T")
JOBS = 64
"""So many connections at once: they wait more than they work."""
TIMEOUT_S = 300.0
LOOK_S = 30.0
WAITING_S = 5.0
"""After so much silence it is said for whom is waited."""
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}
_OF_ANOTHER = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""What `git rev-parse --local-env-vars` lists but for configuration, and what hooks get: all of one repository."""
GIT_KEYS = (*name_rules.TABLE, "backmerge_hours", "freeze")
"""Of a `git` table."""
ENTRY_KEYS = ("name", "path", "first", "workflow", "steps", "migrate", "serve")
"""Of an entry of `[[repositories]]`."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*[mK]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""With other control characters."""
_USERINFO = re.compile(r"://[^/@\s]+@")
_interruptible: set[subprocess.Popen[str]] = set()


class Repository(NamedTuple):
    """One repository of the release."""

    name: str
    url: str
    """Its remote."""
    clone: Path
    """Where somebody's own clone lies, if there is one."""
    first: bool = False
    """Whether it moves before the others."""


class GitFailed(Exception):
    """git ended with an error; the text is the line of it that says why."""

    def __init__(self, command: Sequence[str], code: int, stderr: str) -> None:
        stderr = without_secrets(shown(stderr))
        lines = [line.strip() for line in stderr.splitlines() if line.strip()] or [f"git ended with {code}"]
        super().__init__(next((line for line in lines if line.startswith(("fatal", "error"))), lines[-1]))
        self.command = tuple(command)
        self.code = code
        self.stderr = stderr


def shown(text: str) -> str:
    """What git or a remote said, as it may go to a terminal: without colours and control characters but the ends of
    lines, and bytes that are no UTF-8 as `\\xNN`."""
    return _COLOURS.sub("", text).encode(errors="surrogateescape").decode(errors="backslashreplace")


def without_secrets(text: str) -> str:
    """A text with addresses, without the user and the password in them."""
    return _USERINFO.sub("://", text)


def of(root: Path, name: str) -> list[Repository]:
    """The repositories of an environment, in the order of `[[repositories]]`; `UsageError` where it has none."""
    file = toml_tables.read_tables(root)
    return listed(root, file, git_table(root, file, name))


def listed(root: Path, file: Mapping[str, Any], table: Mapping[str, Any]) -> list[Repository]:
    """As `of`, from the file's tables and the environment's `[git]` table."""
    entries = file.get("repositories", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{toml_tables.FILE} has no [[repositories]]; name each of them in one")
    known = [_repository(root, table, entry) for entry in entries]
    try:
        name_rules.all_different([repository.name for repository in known])
    except ValueError as e:
        raise UsageError(f"{toml_tables.FILE}: {e}") from None
    return known


def git_table(root: Path, file: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The `[git]` table of an environment of the file, its texts looked at; `UsageError` where there is none."""
    table = toml_tables.whole(root, file, name).get("git")
    if not isinstance(table, dict):
        raise UsageError(f"{toml_tables.FILE}: [{name}] has no table `git`, so nobody knows where its repositories are")
    where = f"[{name}.git]"
    _only(where, table, GIT_KEYS)
    for key, proven in name_rules.TABLE.items():
        if key in table:
            _text(where, key, table[key], proven)
    if "remote" not in table:
        raise UsageError(f"{toml_tables.FILE}: {where} remote is missing; write it")
    return table


def _repository(root: Path, table: Mapping[str, Any], entry: Any) -> Repository:
    where = "[[repositories]]"
    if not isinstance(entry, dict) or "name" not in entry:
        raise UsageError(f"{toml_tables.FILE}: an entry of {where} has no `name`; write it")
    _only(where, entry, ENTRY_KEYS)
    name = _text(where, "name", entry["name"], name_rules.repository)
    folder = _text(where, "path", entry.get("path", name), name_rules.folder)
    first = entry.get("first", False)
    if not isinstance(first, bool):
        raise UsageError(f"{toml_tables.FILE}: `first` of {name} in {where} must be true or false")
    remote, workspace = str(table["remote"]), str(table.get("workspace", ".."))
    return Repository(name, remote.replace("{repository}", name), root / workspace / folder, first)


def _only(where: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises `UsageError` for a key that nobody knows: a misspelled one would be left out in silence."""
    for key in table:
        if key not in known:
            raise UsageError(f"{toml_tables.FILE}: {where} {key} is not a known key; mend its spelling or take it out")


def _text(where: str, key: str, value: Any, proven: Callable[[str], str]) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("a text")
        return proven(value)
    except ValueError as e:
        raise UsageError(f"{toml_tables.FILE}: {where} {key} = {value!r} should be {e}; mend the value") from None


def git(
    *arguments: str,
    git_dir: Path | None = None,
    cwd: Path | None = None,
    says: str | None = None,
    accept: Sequence[int] = (0,),
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT_S,
    interruptible: bool = False,
) -> str:
    """What git printed, told `says` on stdin; raises `GitFailed` for a code not in `accept`, or after `timeout` s.

    Every process of it inherits `pass_fds`. Ctrl-C in `each` ends it only where it is `interruptible`: a fetch can be
    ended at any moment, a merge leaves half a work tree behind.
    """
    command = ["git", *([f"--git-dir={git_dir}"] if git_dir else []), *arguments]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL if says is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            env={**_inherited(), **_QUIET, **(env or {})},
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except FileNotFoundError as e:
        if cwd is not None and not cwd.is_dir():
            raise GitFailed(arguments, 128, f"fatal: {cwd} is no folder") from None
        raise UsageError("git is not installed, or not on the PATH") from e
    if interruptible:
        _interruptible.add(process)
    try:
        output, errors = process.communicate(says, timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        raise GitFailed(arguments, -signal.SIGTERM, f"fatal: no answer within {timeout:g} s") from None
    except BaseException:
        _end(process)
        raise
    finally:
        _interruptible.discard(process)
    if process.returncode not in accept:
        raise GitFailed(arguments, process.returncode, errors)
    return output


def ls_remote(
    repository: Repository, patterns: Sequence[str] = (), *, pass_fds: Sequence[int] = (), timeout: float = LOOK_S
) -> dict[str, str]:
    """{ref: object} of the remote, in one connection; raises `GitFailed`. An annotated tag `t` comes with `t^{}`."""
    listing = git("ls-remote", "--", repository.url, *patterns, pass_fds=pass_fds, timeout=timeout, interruptible=True)
    return {ref: object_ for object_, _, ref in (line.partition("\t") for line in listing.splitlines())}


def each(
    repositories: Sequence[Repository],
    work: Callable[[Repository], T],
    *,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, T | GitFailed]:
    """`work` for every repository, side by side, in their order; a `GitFailed` is a result, any other error is raised.

    See `as_they_end` for what is said and what Ctrl-C does.
    """
    return dict(as_they_end(repositories, work, say=say))


def as_they_end(
    repositories: Sequence[Repository],
    work: Callable[[Repository], T],
    *,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[tuple[str, T | GitFailed]]:
    """As `each`, one by one: each result as soon as it and those before it are there.

    `say` hears now and then for whom is still being waited. Threads of our own, because a pool brings the logging
    module along, and `gli pull` should start at once. Ctrl-C starts nothing more, ends every git that may be
    interrupted and waits for the others.
    """

    results: dict[str, T | GitFailed] = {}
    raised: list[BaseException] = []
    slots = threading.Semaphore(JOBS)

    def attempt(repository: Repository) -> None:
        try:
            if not raised:
                results[repository.name] = work(repository)
        except GitFailed as e:
            results[repository.name] = e
        except BaseException as e:  # noqa: BLE001 - it is raised where the results are waited for
            raised.append(e)
        finally:
            slots.release()

    threads = [threading.Thread(target=attempt, args=(r,), name=r.name) for r in repositories]
    speaks = time.monotonic() + WAITING_S
    try:
        for thread in threads:
            slots.acquire()
            thread.start()
        for thread, repository in zip(threads, repositories, strict=True):
            while thread.is_alive():
                thread.join(max(0.0, speaks - time.monotonic()))
                if thread.is_alive():
                    say(f"waiting for {', '.join(t.name for t in threads if t.is_alive())} ...")
                    speaks = time.monotonic() + WAITING_S
            if raised:
                raise raised[0]
            yield repository.name, results[repository.name]
    except BaseException as e:
        raised.append(e)
        while any(thread.is_alive() for thread in threads):
            for process in list(_interruptible):
                _signal(process, signal.SIGTERM)
            time.sleep(0.05)
        raise


def _inherited() -> dict[str, str]:
    """The environment without what a hook of git sets: it would lead git to another repository."""
    return {k: v for k, v in os.environ.items() if k not in _OF_ANOTHER}


def _end(process: subprocess.Popen[str]) -> None:
    """End git with all that it started. It takes its lock files away first, so it is asked before it is killed."""
    _signal(process, signal.SIGTERM)
    try:
        process.communicate(timeout=2.0)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.communicate()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
