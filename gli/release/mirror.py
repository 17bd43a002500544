"""A repository's bare mirror in `.release/mirrors/`: everything that an operation reads and builds, it does there.

Nobody's clone is touched: merges are made with git-merge-tree and commits with git-commit-tree, without a work tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gli.common.errors import UsageError
from gli.git.branches import BRANCHES
from gli.release.push_order import Turn
from gli.release.repositories import GitFailed, Repository, git, shown

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
_FETCHED = (
    *(f"refs/heads/{branch}" for branch in BRANCHES),
    "refs/tags/*",
    "refs/gli/*",
    "refs/promotions/*",
    "refs/archive/*",
)
_FIELDS = "%00".join(
    ("%(refname)", "%(objecttype)", "%(objectname)", "%(tree)", "%(*objectname)", "%(*tree)", "%(contents)", "%01")
)
_MISSING = re.compile(r"couldn't find remote ref (?P<ref>\S+)$", re.MULTILINE)
Specs = Mapping[str, tuple[str, str | None]]
"""What a push does: {ref: (object, expected)}. An empty object deletes, an empty `expected` only creates."""
QUIET_FETCH = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
_ONE = ("rev-list", "--max-count=1", "--no-commit-header", "--format=%H%x00%T%x00%B")


@dataclass(frozen=True)
class Commit:
    """The tip of a branch, or what a tag stands for."""

    id: str
    tree: str
    message: str
    """Of the commit; of the tag where the tag is annotated."""

    @property
    def short(self) -> str:
        return self.id[:8]


@dataclass(frozen=True)
class Refs:
    """What a repository had when it was fetched."""

    branches: Mapping[str, Commit]
    tags: Mapping[str, Commit]
    lock: str | None
    """The object of the lock ref; only the log repository has one."""
    parked: Mapping[str, str]
    """Ref to commit of what operations have parked."""


@dataclass(frozen=True)
class Mirror:
    """The mirror of one repository. Every git inherits `fds`, the lock of this machine."""

    repository: Repository
    folder: Path
    fds: tuple[int, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)
    """GIT_AUTHOR_* and GIT_COMMITTER_*, the date included: the same operation always builds the same objects."""
    also: str = ""
    """One more branch to fetch, where the remote has it."""

    @property
    def name(self) -> str:
        return self.repository.name

    def git(
        self,
        *arguments: str,
        says: str | None = None,
        accept: Sequence[int] = (0,),
        fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> str:
        """git in the mirror, with more file descriptors and variables; raises `GitFailed`."""
        if not (self.folder / "HEAD").is_file():
            self._create()
        return git(
            *arguments,
            git_dir=self.folder,
            says=says,
            accept=accept,
            pass_fds=(*self.fds, *fds),
            env={**self.identity, **(env or {})},
        )

    def fetch(self) -> Refs:
        """The three branches, all tags and the lock, in one connection; raises `GitFailed`.

        A branch that the remote does not have is not among what is returned.
        """
        more = (f"refs/heads/{self.also}*",) if self.also else ()  # a pattern may match nothing, a name may not
        wanted = [*_FETCHED, *more]
        while True:
            refspecs = [f"+{ref}:{ref}" for ref in wanted]
            try:
                self.git("fetch", *QUIET_FETCH, "--prune", "--", self.repository.url, *refspecs)
                return self.refs()
            except GitFailed as e:
                missing = _MISSING.search(e.stderr)
                if missing is None or missing["ref"] not in wanted:
                    raise
            wanted.remove(missing["ref"])
            self.git("update-ref", "-d", missing["ref"])

    def push(self, specs: Specs, turn: Turn | None = None) -> None:
        """One atomic push; with a `turn`, it sends nothing before that has come (raises `NotItsTurn` if it never did).

        Each ref is pinned to what is expected there, so nothing of somebody else's is overwritten; None only where a
        ref of our own is taken away. Raises `GitFailed`.
        """
        pinned = {ref: expected for ref, (_, expected) in specs.items() if expected is not None}
        leases = [f"--force-with-lease={ref}:{expected}" for ref, expected in pinned.items()]
        refspecs = [f"{new}:{ref}" for ref, (new, _) in specs.items()]
        arguments = ("--atomic", *leases, "--", self.repository.url, *refspecs)
        if turn is None:
            self.git("push", "--no-verify", *arguments)
            return
        with turn.awaited(self.folder) as (options, more):
            self.git(*options, "push", *arguments, **more)

    def refs(self) -> Refs:
        """What the last fetch brought."""
        branches, tags, parked, lock = {}, {}, {}, None
        for record in self.git("for-each-ref", f"--format={_FIELDS}").split("\0\1\n")[:-1]:
            ref, kind, object_, tree, peeled, peeled_tree, message = record.split("\0", 6)
            commit = Commit(peeled or object_, peeled_tree or tree, message)
            if ref.startswith("refs/heads/"):
                branches[ref.removeprefix("refs/heads/")] = commit
            elif ref.startswith("refs/tags/") and (peeled or kind == "commit"):
                tags[ref.removeprefix("refs/tags/")] = commit
            elif ref.startswith("refs/promotions/"):
                parked[ref] = object_
            lock = object_ if ref == "refs/gli/lock" else lock
        return Refs(branches, tags, lock, parked)

    def commit(self, name: str) -> Commit:
        """A commit by its name; raises `GitFailed` where there is none."""
        return _commit(self.git(*_ONE, f"{name}^{{commit}}"))

    def newest(self, tip: str, pattern: str, *, first_parent: bool = False, beyond: str | None = None) -> Commit | None:
        """The newest commit in the history of `tip` whose message has a line that matches: of the `first_parent` line
        alone, of what the commit `beyond` does not hold."""
        line = ("--first-parent",) if first_parent else ("--topo-order",)
        found = self.git(*_ONE, *line, f"--grep={pattern}", tip, *([f"^{beyond}"] if beyond else []))
        return _commit(found) if found else None

    def contains(self, holder: str, commit: str) -> bool:
        """Whether `commit` is in the history of `holder`."""
        try:
            self.git("merge-base", "--is-ancestor", commit, holder)
        except GitFailed as e:
            if e.code == 1:
                return False
            raise
        return True

    def holds_archived(self, holder: str, beyond: str) -> bool:
        """Whether any commit in the history of `holder`, and not in that of `beyond`, was taken off by a reset."""
        new = self.git("rev-list", "--count", holder, f"^{beyond}")
        return new != self.git("rev-list", "--count", holder, f"^{beyond}", "--not", "--glob=refs/archive/*")

    def merge(self, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
        """The tree of a merge, and the files that conflict; raises `GitFailed` where it can't be tried."""
        options = ("--write-tree", "-z", "--name-only", "--no-messages")
        try:
            answer = self.git("merge-tree", *options, ours, theirs, accept=(0, 1))
        except GitFailed as e:
            if "usage: git merge-tree" in e.stderr:
                raise UsageError("this git can't merge without a work tree; install git 2.38 or newer") from None
            raise
        tree, *conflicts = [part for part in answer.split("\0") if part] or [""]
        if not tree:  # a bad name ends with 1 as a conflict does, and prints nothing
            raise GitFailed(("merge-tree", ours, theirs), 1, "printed nothing: one of the two is no commit")
        return tree, tuple(dict.fromkeys(map(shown, conflicts)))

    def differing(self, one: str, other: str) -> tuple[str, ...]:
        """The files that two trees do not have in common."""
        listing = self.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", one, other)
        return tuple(shown(path) for path in listing.split("\0") if path)

    def files(self, tree: str) -> tuple[str, ...]:
        """Every path of a tree."""
        return tuple(path for path in self.git("ls-tree", "-r", "-z", "--name-only", tree).split("\0") if path)

    def make_commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """A new commit; its id. The same input always makes the same one."""
        parented = [part for parent in parents for part in ("-p", parent)]
        return self.git("commit-tree", tree, *parented, says=message).strip()

    def make_tag(self, name: str, commit: str, message: str) -> str:
        """An annotated tag as an object, without a ref; its id."""
        who, date = self.identity["GIT_COMMITTER_NAME"], self.identity["GIT_COMMITTER_DATE"]
        tagger = f"{who} <{self.identity['GIT_COMMITTER_EMAIL']}> {date}"
        return self.git(
            "mktag", says=f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message.rstrip()}\n"
        ).strip()

    def make_blob(self, text: str) -> str:
        """A file's content as an object; its id."""
        return self.git("hash-object", "-w", "--stdin", says=text).strip()

    def _create(self) -> None:
        """What `git init --bare` makes, without a process and without the user's templates."""
        for part in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "config").write_text(_CONFIG, encoding="utf-8")
        (self.folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")


def _commit(text: str) -> Commit:
    return Commit(*text.split("\0", 2))


def trailer(message: str) -> dict[str, Any] | None:
    """The JSON at the end of a tag's message; None where it has none that an operation could have written."""
    start = message.find("\n{")
    if start < 0:
        return None
    try:
        document, _ = json.JSONDecoder().raw_decode(message, start + 1)
    except ValueError:
        return None
    return document if isinstance(document, dict) and _is_of_operation(document) else None


def _is_of_operation(document: Mapping[str, Any]) -> bool:
    moves, verdict = document.get("moves", {}), document.get("verdict", {})
    if not (isinstance(moves, dict) and isinstance(verdict, dict)):
        return False
    texts = [document.get(key) for key in ("kind", "at", "actor")]
    for move in moves.values():
        texts += [move.get(key) if isinstance(move, dict) else None for key in ("old", "new", "old_tree", "tree")]
    return all(isinstance(text, str) for text in texts)
