"""A temporary bare repository of one remote, with commits and trees. git fetches a file when the file is read.

Source of truth: git-fetch --filter, git-cat-file --batch, gitprotocol-v2.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from gli.git import partial_repository, submodules
from gli.git.command import GitFailed
from gli.git.command_async import git, git_bytes
from gli.git.effective import Asked
from gli.git.partial_repository import ONLY_OBJECTS
from gli.observe.engine.guard import refuse_git_writes
from gli.observe.engine.probe import Observer

T = TypeVar("T")
_NOBODY = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
"""Author and committer of the commits that a comparison makes. They never leave the temporary repository."""


@asynccontextmanager
async def temporary(observer: Observer, remote: str) -> AsyncIterator[Bare]:
    """A repository of this remote in a folder of its own, when a turn of git is free."""
    async with observer.git_turn():
        with tempfile.TemporaryDirectory(prefix="gli-git-") as folder:
            yield Bare(observer, Path(folder), remote)


class Bare:
    """A temporary bare repository that fetches missing files when git asks for them."""

    def __init__(self, observer: Observer, folder: Path, remote: str) -> None:
        self._observer, self._folder, self.remote = observer, folder, remote
        self.fetched = False
        self._entries: dict[str, dict[str, tuple[str, str]]] = {}

    async def fetch(self, commits: Mapping[str, str]) -> None:
        """Fetches the history of these branches, without files."""
        partial_repository.create(self._folder, self.remote, commits.values())
        await self._fetch(f"{commit}:refs/heads/{branch}" for branch, commit in commits.items())
        self.fetched = True

    async def has(self, commit: str) -> bool:
        """Whether the remote has this commit; see `gli.git.submodules.published`. Raises `GitFailed`."""
        partial_repository.create(self._folder, self.remote, [commit])
        return await self.answered(submodules.published(commit))

    async def answered(self, steps: Generator[Asked, str, T]) -> T:
        """The result of steps whose questions this repository answers; see `gli.git.effective`."""
        try:
            asked = next(steps)
            while True:
                if asked[0] == "fetch":
                    self._observer.count("git")
                try:
                    answer = await self.git(*asked)
                except GitFailed as e:
                    asked = steps.throw(e)
                else:
                    asked = steps.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    async def need(self, objects: Iterable[str]) -> None:
        """Fetches files in one request. Otherwise git would fetch them one by one."""
        await self._fetch(objects)

    async def _fetch(self, wanted: Iterable[str]) -> None:
        self._observer.count("git")
        says = "".join(f"{w}\n" for w in wanted)
        await self.git("fetch", *ONLY_OBJECTS, "--filter=blob:none", "--stdin", "origin", says=says)

    async def git(self, *arguments: str, says: str | None = None, accept: Sequence[int] = (0,)) -> str:
        refuse_git_writes(arguments[0])
        merges = ("-C", str(self._folder), "-c", "core.bare=false", f"--work-tree={self._folder}")
        where = merges if arguments[0] == "merge-tree" else ()  # git 2.39 can't follow merge.renormalize without a tree
        return await git(*where, "--git-dir", str(self._folder), *arguments, says=says, accept=accept, env=_NOBODY)

    async def read(self, names: Sequence[str]) -> dict[str, str | None]:
        """Object name (`commit` or `branch:path`) to its content; None if there is no such object."""
        asked = "".join(f"{name}\n" for name in names)
        refuse_git_writes("cat-file")
        rest = await git_bytes("--git-dir", str(self._folder), "cat-file", "--batch", says=asked)
        contents: dict[str, str | None] = {}
        for name in names:
            header, _, rest = rest.partition(b"\n")
            if header.endswith(b" missing"):
                contents[name] = None
                continue
            size = int(header.rpartition(b" ")[2])
            contents[name] = rest[:size].decode(errors="replace")
            rest = rest[size + 1 :]
        return contents

    async def files(self, branch: str) -> dict[str, str]:
        """Path to object id, for every file of a branch."""
        return {path: id_ for path, (_, id_) in (await self.entries(branch)).items()}

    async def entries(self, branch: str) -> dict[str, tuple[str, str]]:
        """Path to mode and object id, for every file and submodule of a branch. Listed once: nothing moves here."""
        if branch not in self._entries:
            listing = await self.git("ls-tree", "-r", "-z", f"refs/heads/{branch}")
            found = (entry.partition("\t") for entry in listing.split("\0") if entry)
            self._entries[branch] = {path: (about.split()[0], about.split()[2]) for about, _, path in found}
        return self._entries[branch]
