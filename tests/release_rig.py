"""Small bare repositories with dev, stg and main, and what can be done to them: the rig of the release tests.

All repositories are real git on disk. Only the gate is a function, which says yes to the commits of stg (test_gate.py
tests the real gate). `Rig.reset` restores every ref without a new process, so hundreds of rounds are cheap.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import near_git
from click.testing import CliRunner

from gli.cli.group import main
from gli.common.statuses import Statuses
from gli.git.command import without_secrets
from gli.git.connections import Connections
from gli.git.refs import FENCE
from gli.release import journal as journals
from gli.release import lock
from gli.release.engine import Operation
from gli.release.journal import Event, Journal
from gli.release.plan import Refused
from gli.release.promote import Choices, Evidence, Heads, promote, recover, reopened
from gli.release.repositories import Repository
from gli.release.rollback import rollback
from gli.release.session import Approval, Request, Session, session
from gli.release.settings import Settings
from gli.release.take_over import take_over

EIGHT = (
    "gli_root",
    "gli_api-server",
    "gli_user-frontend",
    "gli_admin-frontend",
    "gli_websocket",
    "gli_database",
    "gli_redis",
    "gli_rabbitmq",
)
"""GLI's repositories."""
NAMES = ("gli_root", "gli_api-server", "gli_websocket", "gli_database", "gli_redis")
"""What most tests release: an operation on all eight starts nearly twice as many processes, and proves no more."""
HOME = "gli_root"
"""The log repository: it moves last."""
THREE = (HOME, "gli_redis", "gli_database")
"""Enough for an operation that is half done: one repository has moved, one has not, and the log repository is left."""
ME = "GLI Developer <developer@glibiz.com>"
SECOND = "Second Person <second@glibiz.com>"
REFUSE = "#!/bin/sh\nwhile read old new ref; do case $ref in refs/heads/*) echo not today; exit 1;; esac; done\n"
PUSHING = 6
"""The line of a journal: opened, planned, approved, parking, parked, pushing."""
SLOW = "#!/bin/sh\nwhile read old new ref; do case $ref in refs/heads/*) sleep 0.2;; esac; done\n"
FIRST_TAG = "deploy-20260101-090000"
_CONFIG = """\
[core]
	repositoryformatversion = 0
	bare = true
	fsync = none
[gc]
	auto = 0
[receive]
	autogc = false
[uploadpack]
	allowAnySHA1InWant = true
	allowFilter = true
"""
_FILE = """
[own]
branch = "stg"
git.remote = "{root}/remotes/{{repository}}.git"
git.workspace = "clones"
git.state = "state"
git.log_repository = "gli_root"
"""
_AUTHOR = "GLI Developer <developer@glibiz.com>"


@dataclass(frozen=True)
class Ended:
    """The result of an operation."""

    code: int
    said: str
    operation: Operation | None = None


@dataclass
class Rig:
    """The repositories below `root/remotes`, and the state of a promoter in `root/state`."""

    root: Path
    state: Path
    repositories: tuple[str, ...] = NAMES
    first: Mapping[str, str] = field(default_factory=dict)
    """Each repository's `packed-refs` as it was made, or as `keep` found it."""
    address: str = ""
    """Of the remotes, with `{repository}`, where a host serves them."""
    statuses: Statuses | None = None
    moves_first: Collection[str] = ()
    """The repositories that move before the others."""
    told: list[str] = field(default_factory=list)
    """What the operations have said on their way."""
    _trees: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        clones = self.root / "clones"
        remote = self.address or f"{self.root}/remotes/{{repository}}.git"
        urls = {name: remote.replace("{repository}", name) for name in self.repositories}
        shared = Connections()
        repositories = [Repository(n, urls[n], clones / n, n in self.moves_first, shared) for n in self.repositories]
        remote = without_secrets(remote)
        return Settings(tuple(repositories), self.state, HOME, remote=remote, statuses=self.statuses)

    def bare(self, name: str) -> Path:
        return self.root / "remotes" / f"{name}.git"

    def reset(self) -> None:
        """Restore every ref of every remote; delete hooks and journals."""
        for name in self.repositories:
            bare = self.bare(name)
            shutil.rmtree(bare / "refs")
            (bare / "refs" / "heads").mkdir(parents=True)
            (bare / "refs" / "tags").mkdir()
            (bare / "packed-refs").write_text(self.first[name])
            (bare / "hooks" / "pre-receive").unlink(missing_ok=True)
        shutil.rmtree(journals.folder(self.state), ignore_errors=True)

    def keep(self) -> None:
        """Make the current state the one that `reset` restores."""
        self.first = {
            name: "".join(f"{commit} {ref}\n" for ref, commit in sorted(self.refs(name).items()))
            for name in self.repositories
        }

    def git(self, name: str, *arguments: str, says: str | None = None) -> str:
        """Run git in a remote; returns the output."""
        done = subprocess.run(
            ["git", "--git-dir", str(self.bare(name)), *arguments],
            input=says,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def refs(self, name: str) -> dict[str, str]:
        """Every ref of a remote, read from its files."""
        return near_git.refs(self.bare(name))

    def everything(self) -> dict[str, dict[str, str]]:
        """Every ref of every remote, without the log and the fence, which refused operations change too."""
        own = ("refs/heads/deployments", FENCE)
        return {n: {ref: o for ref, o in self.refs(n).items() if ref not in own} for n in self.repositories}

    def heads(self, branch: str = "main") -> dict[str, str]:
        return {name: self.refs(name)[f"refs/heads/{branch}"] for name in self.repositories}

    def trees(self, branch: str = "main") -> dict[str, str]:
        """The tree of a branch in every repository."""
        return {name: self.tree(name, commit) for name, commit in self.heads(branch).items()}

    def tree(self, name: str, commit: str) -> str:
        key = (name, commit)
        if key not in self._trees:
            self._trees[key] = self.git(name, "rev-parse", f"{commit}^{{tree}}")
        return self._trees[key]

    def commit(self, name: str, branch: str, files: Mapping[str, str | None], message: str = "Work") -> str:
        """Add a commit by another person to a branch; returns its hash. A file with the value None is deleted."""
        at = int(time.time())
        lines = [f"commit refs/heads/{branch}\ncommitter {_AUTHOR} {at} +0000\n{_data(message)}"]
        lines.append(f"from refs/heads/{branch}^0\n")
        lines += [f"D {f}\n" if text is None else f"M 100644 inline {f}\n{_data(text)}" for f, text in files.items()]
        for _ in range(50):  # a push in progress may have moved the branch meanwhile
            with suppress(subprocess.CalledProcessError):
                self.git(name, "fast-import", "--quiet", says="".join(lines))
                break
        return self.refs(name)[f"refs/heads/{branch}"]

    def hook(self, name: str, script: str) -> None:
        """Install a hook that the remote runs before it accepts a push."""
        path = self.bare(name) / "hooks" / "pre-receive"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def text_at(self, name: str, commit: str) -> str:
        """The message of a commit, as the lock and the fence hold theirs."""
        return self.git(name, "log", "-1", "--format=%B", commit)

    def point_at_text(self, name: str, ref: str, text: str) -> None:
        """Make a ref that points to a commit with this message, as another machine would."""
        commit = self.git(name, "commit-tree", "-F", "-", self.git(name, "mktree", says=""), says=text)
        self.git(name, "update-ref", ref, commit)

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Make a remote unreachable."""
        head = self.bare(name) / "HEAD"  # without HEAD git finds no repository; running processes are not disturbed
        head.rename(head.with_suffix(".away"))
        try:
            yield
        finally:
            head.with_suffix(".away").rename(head)

    def gate(self) -> Evidence:
        """A gate that says yes to the current commits of stg."""
        heads = self.heads("stg")
        return Evidence(
            {name: {"commit": commit, "tree": self.tree(name, commit)} for name, commit in heads.items()},
            {"environment": "stg", "finished": "2026-01-31T09:00:00.000Z"},
        )

    def promote(
        self,
        source: str = "stg",
        target: str = "main",
        *,
        choices: Choices = Choices(),  # noqa: B008 - frozen
        frozen: str | None = None,
        approve: Callable[[Request], Approval] = lambda request: Approval(SECOND),
        gate: Callable[[Heads], Evidence] | None = None,
    ) -> Ended:
        return self.ends(
            lambda s: promote(
                s,
                source,
                target,
                approve=approve,
                gate=gate or (lambda heads: self.gate()),
                frozen=lambda: frozen,
                choices=choices,
            )
        )

    def roll_back(self, to: str | None = None, **options: Any) -> Ended:
        """Roll back to a release; a second person approves it and acknowledges the migrations."""
        asked: dict[str, Any] = {
            "reason": "it broke",
            "approve": lambda request: Approval(SECOND),
            "acknowledge_migrations": True,
        }
        return self.ends(lambda s: rollback(s, to, **(asked | options)))

    def recover(self, how: Any, patience: Sequence[float] = (0.01,)) -> Ended:
        return self.ends(lambda s: recover(s, how), patience)

    def take_over(self, id_: str, approve: Callable[[Request], Approval] = lambda request: Approval(SECOND)) -> Ended:
        return self.ends(lambda s: take_over(s, id_, approve=approve, between_s=0.0))

    def ends(self, work: Callable[[Session], Operation | None], patience: Sequence[float] = (0.01,)) -> Ended:
        """Run an operation in a new session; returns its result."""
        try:
            with session(self.settings, self.told.append, patience=patience) as opened:
                return Ended(0, "", work(opened))
        except Refused as e:
            return Ended(e.code, str(e))

    def wait_for_orphans(self) -> None:
        """Wait until the processes of a killed promoter have ended."""
        with lock.local(self.state, SECOND):
            pass

    def journals(self) -> list[list[Event]]:
        """Every journal, oldest first."""
        return [journals.read(path) for path in sorted(journals.folder(self.state).glob("*.jsonl"))]

    def journal(self) -> list[Event]:
        """The newest journal."""
        return self.journals()[-1]

    def names(self) -> list[str]:
        """The events of the newest journal."""
        return [event.event for event in self.journal()]

    def leftovers(self) -> set[str]:
        """Refs that no operation may leave behind. The fence is allowed: it names the last operation."""
        kept = ("refs/promotions/", "refs/gli/")
        return {ref for n in self.repositories for ref in self.refs(n) if ref.startswith(kept) and ref != FENCE}

    def verdict_of_git(self, old: Mapping[str, str], new: Mapping[str, str], branch: str = "main") -> str:
        """`old` or `new` if the branch has that tree in every repository; otherwise the state of each."""
        trees = self.trees(branch)
        if trees == old:
            return "old"
        return "new" if trees == new else f"mixed: {[n for n in self.repositories if trees[n] == new[n]]} are new"


def make(root: Path, repositories: tuple[str, ...] = NAMES) -> Rig:
    """A rig with one release on main, stg one commit ahead of it in every repository, and dev one ahead of stg."""
    rig = Rig(root, root / "state", repositories)
    first = {}
    for name in repositories:
        bare = rig.bare(name)
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "hooks"):
            (bare / folder).mkdir(parents=True)
        (bare / "HEAD").write_text("ref: refs/heads/main\n")
        (bare / "config").write_text(_CONFIG)
        rig.git(name, "fast-import", "--quiet", says=_history(name))
        first[name] = rig.git(name, "show-ref") + "\n"
    rig.first = first
    rig.reset()
    return rig


def park(rig: Rig, work: Callable[[], Ended]) -> Path:
    """Stop an operation after it was parked, and keep this state for repeated pushes; returns the journal."""
    push_for_real, Operation.push = Operation.push, lambda self: None  # type: ignore[assignment, method-assign]
    try:
        ended = work()
    finally:
        Operation.push = push_for_real  # type: ignore[method-assign]
    assert ended.code == 0, ended.said
    rig.keep()
    return max(journals.folder(rig.state).glob("*.jsonl"))


def restart(rig: Rig, journal: bytes) -> Path:
    """Restore the parked state with this journal."""
    rig.reset()
    path = journals.folder(rig.state) / f"{json.loads(journal.splitlines()[0])['id']}.jsonl"
    path.parent.mkdir()
    path.write_bytes(journal)
    return path


def push(rig: Rig, path: Path) -> Ended:
    """Continue a parked promotion."""

    def pushed(opened: Session) -> Operation:
        journal = Journal.reopen(path, opened.actor)
        operation = reopened(opened, journal)
        try:
            operation.push()
        finally:
            journal.close()
        return operation

    return rig.ends(pushed)


def killed(work: Callable[[], Any], when: str, line: int) -> bool:
    """Run `work` in a child that kills itself at a line of the journal; returns whether it reached that line."""
    child = os.fork()
    if child == 0:
        try:
            _kill_at(when, line)
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _kill_at(when: str, line: int) -> None:
    write, one_by_one = Journal.append, threading.Lock()

    def append(self: Journal, event: str, **detail: Any) -> Event:
        with one_by_one:
            if when == "before" and len(self.events) + 1 == line:
                os.kill(os.getpid(), signal.SIGKILL)
            written = write(self, event, **detail)
            if when == "after" and written.seq == line:
                os.kill(os.getpid(), signal.SIGKILL)
            return written

    Journal.append = append  # type: ignore[method-assign]


def project(rig: Rig, more: str = "") -> None:
    """The environments.toml that `gli` reads, with `more` at its end."""
    tables = "".join(f'[[repositories]]\nname = "{name}"\n' for name in rig.repositories)
    (rig.root / "environments.toml").write_text(tables + _FILE.format(root=rig.root) + more)


def doctor() -> tuple[int, list[str]]:
    """The exit code and the output of `gli doctor`."""
    ended = CliRunner().invoke(main, ["doctor"])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output.splitlines()


def healthy(rig: Rig) -> bool:
    return doctor() == (0, [f"all {len(rig.repositories)} repositories are in order"])


def _history(name: str) -> str:
    released = {"README.md": f"# {name}\n", "app.txt": "one\ntwo\nthree\n"}
    staged, developed = {"app.txt": "one\ntwo\nTHREE\n"}, {"next.txt": "next\n"}
    if name == "gli_api-server":
        released["notices/migrations/0001_initial.py"] = "1\n"
        staged["notices/migrations/0002_more.py"] = "2\n"
    lines = [
        _commit("main", 1, "Release", released, ""),
        f"tag {FIRST_TAG}\nfrom :1\ntagger {_AUTHOR} 1767258000 +0000\n{_data('Deployed to production')}",
        _commit("stg", 2, "Prepare the next release", staged, "from :1\n"),
        _commit("dev", 3, "Start on what comes after", developed, "from :2\n"),
    ]
    return "".join(lines)


def _commit(branch: str, mark: int, message: str, files: Mapping[str, str], start: str) -> str:
    head = f"commit refs/heads/{branch}\nmark :{mark}\ncommitter {_AUTHOR} {1767258000 + mark} +0000\n{_data(message)}"
    return head + start + "".join(f"M 100644 inline {file}\n{_data(text)}" for file, text in files.items())


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"
