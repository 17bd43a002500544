"""A repository's bare mirror in `.release/mirrors/`: an operation reads and builds everything there.

People's clones are not touched: merges are made with git-merge-tree and commits with git-commit-tree, without a
checkout. The mirror is ours: if it is damaged, or locked by a git that was killed, it is repaired or made again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gli.git.branches import Branches
from gli.git.command import GitFailed, git, shown
from gli.git.connections import is_dropped
from gli.git.effective import ONE, Commit, parsed
from gli.git.identity import UNSIGNED, Signing
from gli.git.refs import FENCE, LOCK
from gli.git.trailers import RELEASE_ID
from gli.release.push_order import Turn
from gli.release.repositories import Repository

_CONFIG = """\
[core]
\trepositoryformatversion = 1
\tbare = true
[extensions]
\tobjectFormat = {format}
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""
_CONFIG_SHA1 = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
_FETCHED = ("refs/tags/*", "refs/gli/*", "refs/promotions/*", "refs/archive/*")
"""The refs that are fetched in addition to the branches of a release."""
_FIELDS = (
    "%(refname) %(objecttype) %(objectname) %(tree) %(*objecttype) %(*objectname) %(*tree) %(committerdate:unix) "
    "%(contents) %01"
).replace(" ", "%00")
_MISSING = re.compile(r"couldn't find remote ref (?P<ref>\S+)$", re.MULTILINE)
_OTHER_FORMAT = re.compile(r"mismatched algorithms: client|does not support this repository's object format")
"""git says the first in protocol version 2, the second in version 0, which OpenSSH's server speaks by default."""
_LOCKED = re.compile(r"\.lock': File exists|cannot lock ref|could not lock config file", re.IGNORECASE)
_DAMAGED = re.compile(
    r"object (?:file )?\S+ (?:\(stored in \S+\) )?is (?:corrupt|empty|missing)|unable to unpack \S+ header"
    r"|inflate: data stream|bad (?:object|sha1 file|tree object)|missing (?:blob|tree|commit)|invalid sha1 pointer"
    r"|did not send all necessary objects|packfile \S+ (?:is corrupt|cannot be accessed|is truncated)|bad signature"
    r"|unable to parse object|fatal: bad config|pack has bad object|not a git repository: '.*\.release",
    re.IGNORECASE,
)
_NOTHING = "the remote gives no branch: it is empty, a shallow clone itself, or a login page or a proxy answers for it"
Specs = Mapping[str, tuple[str, str | None]]
"""The content of a push: {ref: (object, expected)}. An empty object deletes the ref; with an empty `expected`, the push
may only create the ref."""
QUIET_FETCH = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
_ALOUD = ("--progress", *QUIET_FETCH[1:])
"""git reports its progress on stderr: a fetch that works is never silent, however long it takes."""
_ALONE = ("--atomic", "--no-recurse-submodules", "--no-follow-tags")
"""These refs and no others, whatever git's settings add: with push.recurseSubmodules=only, git pushes none of them and
ends with 0."""
_CHAIN = "refs/next/chain"
_STEPS = ("--depth=1", "--deepen=10", "--deepen=100", "--deepen=1000", "--deepen=10000", "--unshallow")
"""The steps of a first fetch whose connection was cut before: the objects of each finished step are kept."""


@dataclass(frozen=True)
class Refs:
    """The refs of a repository when it was fetched."""

    branches: Mapping[str, Commit]
    tags: Mapping[str, Commit]
    lock: str | None
    """The object of the lock ref; only the log repository has one."""
    parked: Mapping[str, str]
    """Each parked ref to its commit."""
    fence: str = ""
    """The object of the fence; empty if no operation has touched the repository yet."""
    newest: float = 0.0
    """When the newest commit that a person made at the head of a branch was made: seconds since 1970, by the clock of
    that person. 0 if there is none."""


@dataclass(frozen=True)
class Mirror:
    """The mirror of one repository."""

    repository: Repository
    folder: Path
    running: Path | None = None
    """The file in which git notes its process while it fetches or pushes (see `gli.release.lock`); None for readers."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """GIT_AUTHOR_* and GIT_COMMITTER_*, the date included: the same operation always builds the same objects."""
    also: str = ""
    """One more branch to fetch, if the remote has it."""
    signing: Signing = UNSIGNED
    """The objects that git's settings want to have signed."""

    @property
    def name(self) -> str:
        return self.repository.name

    @property
    def branches(self) -> Branches:
        """The branches that a release moves through."""
        return self.repository.branches

    def git(
        self,
        *arguments: str,
        says: str | None = None,
        accept: Sequence[int] = (0,),
        fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        remote: bool = False,
    ) -> str:
        """git in the mirror, with more file descriptors and variables. Raises `GitFailed`. `remote` says that it
        fetches or pushes.

        A lock file that a killed git has left is removed: this process holds the lock of this machine, so no other
        operation works in the mirror.
        """
        if not (self.folder / "HEAD").is_file():
            self._create()

        def run() -> str:
            return git(
                *("-c", f"core.hooksPath={os.devnull}"),  # a person's hooks are for that person's work
                *arguments,
                git_dir=self.folder,
                cwd=cwd,
                says=says,
                accept=accept,
                pass_fds=fds,
                env={**self.identity, **(self.repository.connections.environment if remote else {}), **(env or {})},
                noted_in=self.running if remote else None,
            )

        try:
            return run()
        except GitFailed as e:
            if not _LOCKED.search(e.stderr) or not self._unlocked():
                raise
            return run()

    def fetch(self) -> Refs:
        """Fetch the three branches, all tags and the lock, in one connection. Raises `GitFailed`.

        A branch that the remote lacks is missing in the result. A damaged mirror is made again.
        """
        for last in (False, False, True):  # a mirror without settings is first made again in the usual object format
            try:
                return self._fetched()
            except GitFailed as e:
                if last or not self.made_again(e):
                    raise
        raise AssertionError

    def bring(self, *refspecs: str, source: str = "") -> None:
        """Fetch these objects and nothing else, from the remote or from `source`. Raises `GitFailed`."""

        def fetch() -> None:
            self.git("fetch", *_ALOUD, "--", source or self.repository.url, *refspecs, remote=True)

        if source:
            fetch()
        else:
            self.repository.connections.reading(fetch)

    def push(self, specs: Specs, turn: Turn | None = None) -> None:
        """One atomic push. With a `turn`, it sends nothing before its turn has come, and raises `NotItsTurn` if the
        turn never comes.

        Each ref is pinned to its expected object, so no ref of anybody else is overwritten; the expectation is None
        only if a ref of our own is deleted. Raises `GitFailed`.
        """
        pinned = {ref: expected for ref, (_, expected) in specs.items() if expected is not None}
        leases = [f"--force-with-lease={ref}:{expected}" for ref, expected in pinned.items()]
        refspecs = [f"{new}:{ref}" for ref, (new, _) in specs.items()]
        arguments = (*_ALONE, *leases, "--", self.repository.url, *refspecs)
        connections = self.repository.connections
        if turn is None:
            with connections.one():
                self.git("push", "--no-verify", *arguments, remote=True)
            return
        with (
            turn.awaited() as (options, more),
            connections.one() if turn.has_come else connections.waiting(),
        ):
            self.git(*options, "push", *arguments, remote=True, **more)

    def refs(self) -> Refs:
        """The refs that the last fetch brought."""
        branches, tags, parked, lock, fence, newest = {}, {}, {}, None, "", 0.0
        for record in self.git("for-each-ref", f"--format={_FIELDS}").split("\0\1\n")[:-1]:
            ref, kind, object_, tree, of, peeled, peeled_tree, made, message = record.split("\0", 8)
            if of == "tag":  # a tag of a tag: git peels once
                try:
                    peeled, peeled_tree, _ = self.commit(ref)
                except GitFailed as e:
                    if "expected commit type" not in e.stderr:
                        raise
                    continue  # a tag of a file or a folder: no operation made it
            commit = Commit(peeled or object_, peeled_tree or tree, message)
            if ref.startswith("refs/heads/"):
                branches[ref.removeprefix("refs/heads/")] = commit
                newest = newest if RELEASE_ID.search(message) else max(newest, float(made or 0))
            elif ref.startswith("refs/tags/") and (peeled_tree or kind == "commit"):
                tags[ref.removeprefix("refs/tags/")] = commit
            elif ref.startswith("refs/promotions/"):
                parked[ref] = object_
            lock = object_ if ref == LOCK else lock
            fence = object_ if ref == FENCE else fence
        return Refs(branches, tags, lock, parked, fence, newest)

    def commit(self, name: str) -> Commit:
        """The commit with this name. Raises `GitFailed` if it does not exist."""
        return parsed(self.git(*ONE, f"{name}^{{commit}}"))

    def newest(self, tip: str, pattern: str, *, first_parent: bool = False, beyond: str | None = None) -> Commit | None:
        """The newest commit in the history of `tip` whose message has a matching line. `first_parent` limits the search
        to the first-parent line, `beyond` to commits that are not in its history.
        """
        line = ("--first-parent",) if first_parent else ("--topo-order",)
        found = self.git(*ONE, *line, f"--grep={pattern}", tip, *([f"^{beyond}"] if beyond else []))
        return parsed(found) if found else None

    def has(self, objects: Iterable[str]) -> bool:
        """Whether each of these objects is in the mirror, and can be read."""
        try:
            answer = self.git("cat-file", "--batch-check", says="".join(f"{object_}\n" for object_ in objects))
        except GitFailed:
            return False
        return " missing" not in answer

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
        """Whether the history of `holder`, without that of `beyond`, has a commit that a reset took off."""
        new = self.git("rev-list", "--count", holder, f"^{beyond}")
        return new != self.git("rev-list", "--count", holder, f"^{beyond}", "--not", "--glob=refs/archive/*")

    def differing(self, one: str, other: str) -> tuple[str, ...]:
        """The files in which two trees differ."""
        listing = self.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", one, other)
        return tuple(shown(path) for path in listing.split("\0") if path)

    def files(self, tree: str) -> tuple[str, ...]:
        """Every path of a tree."""
        return tuple(path for path in self.git("ls-tree", "-r", "-z", "--name-only", tree).split("\0") if path)

    def make_commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """A new commit, signed where git's settings say so; its id."""
        parented = [part for parent in parents for part in ("-p", parent)]
        sign = ("-S",) if self.signing.commits else ()
        return self.git("commit-tree", *sign, tree, *parented, says=message).strip()

    def make_tag(self, name: str, commit: str, message: str) -> str:
        """An annotated tag as an object, without a ref, signed where git's settings say so; its id."""
        if self.signing.tags:
            self.git("tag", "-s", "-f", "--cleanup=verbatim", "-F", "-", name, commit, says=f"{message.rstrip()}\n")
            made = self.git("rev-parse", f"refs/tags/{name}").strip()
            self.git("update-ref", "-d", f"refs/tags/{name}")
            return made
        who, date = self.identity["GIT_COMMITTER_NAME"], self.identity["GIT_COMMITTER_DATE"]
        tagger = f"{who} <{self.identity['GIT_COMMITTER_EMAIL']}> {date}"
        return self.git(
            "mktag", says=f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message.rstrip()}\n"
        ).strip()

    def make_blob(self, text: str) -> str:
        """A file's content as an object; its id."""
        return self.git("hash-object", "-w", "--stdin", says=text).strip()

    def make_chain(self, texts: Sequence[str], after: str = "") -> list[str]:
        """Commits without files, each on top of the one before it, the first on top of `after`; their ids.

        A ref that moves along a chain only moves forward, so hosts that forbid to rewind a ref accept it.
        """
        made: list[str] = []
        if self.signing.commits:
            tree = self.git("mktree", says="").strip()
            for text in texts:
                after = self.make_commit(tree, [after] if after else [], text)
                made.append(after)
            return made
        who = "{GIT_COMMITTER_NAME} <{GIT_COMMITTER_EMAIL}> {GIT_COMMITTER_DATE}".format_map(self.identity)
        stream = [f"reset {_CHAIN}\n" + (f"from {after}\n\n" if after else "")]
        for number, text in enumerate(texts, 1):
            length = len(text.encode(errors="surrogateescape"))
            stream.append(
                f"commit {_CHAIN}\nmark :{number}\ncommitter {who}\ndata {length}\n{text}\nget-mark :{number}\n"
            )
        return self.git("fast-import", "--quiet", "--force", says="".join(stream)).split()

    def message(self, object_: str) -> str:
        """The message of a commit; empty for another object. Raises `GitFailed` if the object is missing."""
        text = self.git("cat-file", "-p", object_)
        return text.partition("\n\n")[2] if text.startswith("tree ") else ""

    def _fetched(self) -> Refs:
        more = (f"refs/heads/{self.also}*",) if self.also else ()  # unlike a name, a pattern may match nothing
        wanted = [*(f"refs/heads/{branch}" for branch in self.branches.names), *_FETCHED, *more]
        while True:
            try:
                self._fetch([f"+{ref}:{ref}" for ref in wanted])
                refs = self.refs()
                if not (refs.branches or refs.tags or refs.fence):
                    raise GitFailed(("fetch",), 128, f"fatal: {_NOTHING}")
                return refs
            except GitFailed as e:
                missing = _MISSING.search(e.stderr)
                if missing is None or missing["ref"] not in wanted:
                    raise
            wanted.remove(missing["ref"])
            self.git("update-ref", "-d", missing["ref"])

    def _fetch(self, refspecs: Sequence[str]) -> None:
        """Fetch everything at once; after a first fetch that was cut, in steps that are kept."""

        def fetch(*options: str) -> None:
            self.git("fetch", *_ALOUD, *options, "--prune", "--", self.repository.url, *refspecs, remote=True)

        first = (
            not (self.folder / "packed-refs").exists()
            and not (self.folder / "refs/heads" / self.branches.live).exists()
        )
        if not (self.folder / "shallow").exists():
            try:
                if first:
                    with self.repository.connections.one():
                        fetch()
                else:
                    self.repository.connections.reading(fetch)
                return
            except GitFailed as e:
                if not (first and is_dropped(e)):
                    raise
        for step in _STEPS:
            if step != "--unshallow" or (self.folder / "shallow").exists():
                self.repository.connections.reading(lambda step=step: fetch(step))  # type: ignore[misc]

    def made_again(self, error: GitFailed) -> bool:
        """Make the mirror again if it is damaged or has another object format. Returns whether it was made again."""
        other = _OTHER_FORMAT.search(error.stderr) is not None
        ours = "\n".join(line for line in error.stderr.splitlines() if not line.startswith("remote:"))
        if not other and not _DAMAGED.search(ours.replace(self.repository.url, "")) and self._is_sound():
            return False
        format_ = self._format()
        aside = self.folder.with_name(f"{self.folder.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(aside)
        self._create({"sha1": "sha256", "sha256": "sha1"}[format_] if other else format_)
        return True

    def _is_sound(self) -> bool:
        """Whether git can read the settings, refs and newest commit: power may fail in the middle of a write."""
        try:
            is_bare = self.git("rev-parse", "--is-bare-repository").strip() == "true"
            self.git("rev-list", "--all", "--max-count=1")
        except GitFailed:
            return False
        return is_bare

    def _format(self) -> str:
        """The format of the mirror's objects. A damaged mirror without settings counts as the usual one."""
        config = self.folder / "config"
        return "sha256" if config.is_file() and "= sha256" in config.read_text(errors="replace") else "sha1"

    def _unlocked(self) -> bool:
        """Remove the lock files that a killed git left. Returns whether there was one."""
        if self.running is None:
            return False
        left = list(self.folder.rglob("*.lock"))
        for path in left:
            path.unlink(missing_ok=True)
        return bool(left)

    def _create(self, format_: str = "sha1") -> None:
        """Make the files of `git init --bare`, without a process and without the user's templates."""
        for part in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        config = _CONFIG.format(format=format_) if format_ != "sha1" else _CONFIG_SHA1
        (self.folder / "config").write_text(config, encoding="utf-8")
        (self.folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
