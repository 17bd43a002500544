"""The eight repositories: their addresses, and one job in all of them in parallel.

Source of truth: `[[repositories]]` and `[ENVIRONMENT.git]` in environments.toml, git-ls-remote.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gli.common.errors import UsageError
from gli.config import toml_tables
from gli.git import name_rules, refs
from gli.git.branches import BRANCHES, Branches
from gli.git.command import GitFailed, git, interrupt, without_secrets
from gli.git.connections import DEFAULT, Connections

T = TypeVar("T")
JOBS = 64
"""The number of threads: they wait more than they work."""
LOOK_S = 30.0
WAITING_S = 5.0
"""After this many seconds of silence, a message names the repositories that are waited for."""
LOG_BRANCH = "deployments"
GIT_KEYS = (*name_rules.TABLE, "backmerge_hours", "branches", "connections", "freeze")
"""The known keys of a `git` table."""
ENTRY_KEYS = ("name", "path", "first", "workflow", "steps", "migrate", "serve")
"""The known keys of an entry of `[[repositories]]`."""


class Repository(NamedTuple):
    """One repository of the release."""

    name: str
    url: str
    """The address of its remote."""
    clone: Path
    """The path of a person's own clone, if it exists."""
    first: bool = False
    """Whether it moves before the others."""
    connections: Connections = Connections()
    """The connections to all remotes together."""
    branches: Branches = Branches()


def of(root: Path, name: str) -> list[Repository]:
    """The repositories of an environment, in the order of `[[repositories]]`. Raises `UsageError` if it has none."""
    file = toml_tables.read_tables(root)
    return listed(root, file, git_table(root, file, name))


def listed(root: Path, file: Mapping[str, Any], table: Mapping[str, Any]) -> list[Repository]:
    """Like `of`, from the file's tables and the environment's `[git]` table."""
    entries = file.get("repositories", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{toml_tables.FILE} has no [[repositories]]; name each of them in one")
    connections = Connections(table.get("connections", DEFAULT))
    branches = Branches(name_rules.branches(table.get("branches", BRANCHES)))
    found = [_repository(root, table, entry) for entry in entries]
    known = [repository._replace(connections=connections, branches=branches) for repository in found]
    try:
        name_rules.all_different([repository.name for repository in known])
    except ValueError as e:
        raise UsageError(f"{toml_tables.FILE}: {e}") from None
    return known


def git_table(root: Path, file: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The `[git]` table of an environment, with its texts checked. Raises `UsageError` if the table is missing."""
    table = toml_tables.whole(root, file, name).get("git")
    if not isinstance(table, dict):
        raise UsageError(f"{toml_tables.FILE}: [{name}] has no table `git`, so nobody knows where its repositories are")
    where = f"[{name}.git]"
    _only(where, table, GIT_KEYS)
    for key, proven in name_rules.TABLE.items():
        if key in table:
            _text(where, key, table[key], proven)
    most = table.get("connections", DEFAULT)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise UsageError(
            f"{toml_tables.FILE}: {where} connections = {most!r} should be a number from 1; mend the value"
        )
    _branches(where, table)
    if "remote" not in table:
        raise UsageError(f"{toml_tables.FILE}: {where} remote is missing; write it")
    return table


def _branches(where: str, table: Mapping[str, Any]) -> None:
    """Raises `UsageError` for an invalid path of branches, and for a log on one of these branches."""
    key, value = "branches", table.get("branches", BRANCHES)
    try:
        named = name_rules.branches(value)
        key, value = "log_branch", table.get("log_branch", LOG_BRANCH)
        name_rules.apart(value, named)
    except ValueError as e:
        raise UsageError(f"{toml_tables.FILE}: {where} {key} = {value!r} should be {e}; mend the value") from None


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
    """Raises `UsageError` for an unknown key: nobody would notice that a misspelled key has no effect."""
    for key in table:
        if key not in known:
            raise UsageError(f"{toml_tables.FILE}: {where} {key} is not a known key; mend its spelling or take it out")


def _text(where: str, key: str, value: Any, proven: Callable[[str], str]) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("a text")
        return proven(value)
    except ValueError as e:
        written = without_secrets(repr(value))
        raise UsageError(f"{toml_tables.FILE}: {where} {key} = {written} should be {e}; mend the value") from None


def ls_remote(repository: Repository, patterns: Sequence[str] = (), *, silence_s: float = LOOK_S) -> dict[str, str]:
    """{ref: object} of the remote, in one connection; raises `GitFailed`. An annotated tag `t` comes with `t^{}`."""
    command = ("ls-remote", "--", repository.url, *patterns)
    shared = repository.connections
    return refs.listed(
        shared.reading(lambda: git(*command, env=shared.environment, silence_s=silence_s, interruptible=True))
    )


def each(
    repositories: Sequence[Repository],
    work: Callable[[Repository], T],
    *,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, T | GitFailed]:
    """The result of `work` for every repository, run in parallel, in their order. A `GitFailed` is a result; any other
    error is raised. See `as_they_end` for messages and Ctrl-C.
    """
    return dict(as_they_end(repositories, work, say=say))


def as_they_end(
    repositories: Sequence[Repository],
    work: Callable[[Repository], T],
    *,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[tuple[str, T | GitFailed]]:
    """Like `each`, but each result comes as soon as it and the results before it are there.

    `say` is called from time to time with the repositories that are still waited for. This uses plain threads: a thread
    pool imports the logging module, and `gli pull` must start at once. Ctrl-C starts nothing more, ends every
    interruptible git and waits for the others.
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
            interrupt()
            time.sleep(0.05)
        raise
