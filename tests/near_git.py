"""git for the state machine of releases: the same bare repositories on disk, and few processes.

All mirrors and remotes of one repository share one store of objects, and objects have their content for a name. So a
fetch only copies refs, and a question about objects is asked once: git's answer is kept. A push keeps git's order: refs
are read, leases are compared, the hook `pre-push` waits for its turn, the remote's hooks run, and one transaction of
`git update-ref` moves all refs or none, each from exactly the object that was read.

test_release_machine.py compares its pushes with those of `git push`. Source of truth: git-push(1), git-update-ref(1)
(`--stdin`), githooks(5), gitrepository-layout(5).
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gli.git import command
from gli.git.command import GitFailed

ABSENT = "0" * 40
_OF_OBJECTS = {
    *("cat-file", "commit-tree", "diff-tree", "fast-import", "hash-object", "ls-tree", "merge-base", "merge-tree"),
    *("mktag", "mktree", "rev-list"),
}
"""Commands whose answer follows from their arguments and the objects that these name."""
_OF_REFS = {"for-each-ref"}
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tfsync = none\n[gc]\n\tauto = 0\n"


def make(folder: Path, objects: Path, refs: str = "") -> None:
    """A bare repository on a shared store of objects; `refs` is its packed-refs."""
    for part in ("refs/heads", "refs/tags", "hooks"):
        (folder / part).mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text(_CONFIG)
    (folder / "packed-refs").write_text(refs)
    (folder / "objects").symlink_to(objects)


def refs(folder: Path) -> dict[str, str]:
    """Every ref of a repository, from its files."""
    while True:
        lines = (folder / "packed-refs").read_text().splitlines()
        found = {line[41:]: line[:40] for line in lines if line and not line.startswith(("#", "^"))}
        try:
            for top, _, files in os.walk(folder / "refs"):
                for name in files:
                    if not name.endswith(".lock"):
                        path = os.path.join(top, name)  # noqa: PTH118 - called thousands of times
                        with open(path) as file:  # noqa: PTH123
                            found[os.path.relpath(path, folder)] = file.read().strip()
        except FileNotFoundError:  # it was deleted meanwhile
            continue
        return found


class NearGit:
    """In place of `gli.git.command.git`; it takes the same arguments."""

    def __init__(self) -> None:
        self.known: dict[Any, str | tuple[int, str]] = {}
        self.asked = self.kept = 0
        self._transactions: dict[Path, Transactions] = {}
        self._one = threading.Lock()

    def __call__(self, *arguments: str, git_dir: Path | None = None, says: str | None = None, **more: Any) -> str:
        words = arguments = tuple(word for word in arguments if not word.startswith("--work-tree="))  # it is empty
        while words[0] == "-c":
            words = words[2:]
        if words[0] == "ls-remote":
            return self._listed(Path(words[2]), words[3:])
        if words[0] == "fetch" and git_dir is not None:
            return self._fetched(git_dir, words[words.index("--") + 1 :])
        if words[0] == "push" and git_dir is not None:
            return self._pushed(words, more.get("env") or {})
        if words[0] in _OF_OBJECTS | _OF_REFS and git_dir is not None and "--glob=refs/archive/*" not in words:
            return self._answer(arguments, git_dir, says, more)
        self.asked += 1
        return command.git(*arguments, git_dir=git_dir, says=says, **more)

    def close(self) -> None:
        """End the processes that hold the transactions of the remotes."""
        for transactions in self._transactions.values():
            transactions.close()
        self._transactions.clear()

    def _answer(self, arguments: Sequence[str], git_dir: Path, says: str | None, more: Mapping[str, Any]) -> str:
        shown = (git_dir / "packed-refs").read_text() if _OF_REFS & {*arguments} else ""
        by = tuple(sorted((more.get("env") or {}).items())) if "commit-tree" in arguments else ()
        key = (git_dir.name, arguments, says, shown, by)
        known = self.known.get(key)
        if known is None:
            self.asked += 1
            try:
                known = command.git(*arguments, git_dir=git_dir, says=says, **more)
            except GitFailed as e:
                if (e.code, e.stderr) != (1, ""):
                    raise  # what is missing now may be made later
                known = (e.code, e.stderr)
            self.known[key] = known
        else:
            self.kept += 1
        if isinstance(known, tuple):
            raise GitFailed(arguments, *known)
        return known

    def _listed(self, remote: Path, patterns: Sequence[str]) -> str:
        return "".join(f"{o}\t{ref}\n" for ref, o in self._reached(remote).items() if not patterns or ref in patterns)

    def _reached(self, remote: Path) -> dict[str, str]:
        if not (remote / "HEAD").exists():
            raise GitFailed(("fetch",), 128, f"fatal: '{remote}' does not appear to be a git repository")
        return refs(remote)

    def _fetched(self, mirror: Path, words: Sequence[str]) -> str:
        there, here = self._reached(Path(words[0])), refs(mirror)
        for spec in words[1:]:
            source, _, target = spec.lstrip("+").partition(":")
            if not source.startswith("refs/"):
                continue  # an object, which is in the store
            if not source.endswith("*"):
                if source not in there:
                    raise GitFailed(("fetch",), 128, f"fatal: couldn't find remote ref {source}")
                here |= {target: there[source]} if target else {}
                continue
            start = source[:-1]
            here = {ref: o for ref, o in here.items() if not ref.startswith(start)}
            here |= {ref: o for ref, o in there.items() if ref.startswith(start)}
        text = "".join(f"{o} {ref}\n" for ref, o in sorted(here.items()))
        if text != (mirror / "packed-refs").read_text():
            (mirror / "packed-refs").write_text(text)
        return ""

    def _pushed(self, words: Sequence[str], env: Mapping[str, str]) -> str:
        end = words.index("--")
        remote = Path(words[end + 1])
        there = self._reached(remote)
        leases = (word.removeprefix("--force-with-lease=") for word in words[:end] if word.startswith("--force-with"))
        expected = dict(lease.rsplit(":", 1) for lease in leases)
        wanted = {ref: new for new, ref in (spec.split(":", 1) for spec in words[end + 2 :])}
        moves = {ref: (there.get(ref, ""), new) for ref, new in wanted.items() if there.get(ref, "") != new}
        about = {ref: (there.get(ref, ""), new) for ref, new in wanted.items()}
        stale = {ref for ref, (old, new) in about.items() if (old != new or not new) and expected.get(ref, old) != old}
        if stale:
            raise GitFailed(words, 1, _rejected("rejected", about, stale, "stale info", "atomic push failed"))
        if "GLI_TURN" in env and os.read(int(env["GLI_TURN"]), 3) != b"go\n":
            raise GitFailed(words, 1, "error: failed to push some refs")
        if moves:
            self._received(words, remote, moves)
        return ""

    def _received(self, words: Sequence[str], remote: Path, moves: Mapping[str, tuple[str, str]]) -> None:
        """What git receive-pack does."""
        lines = "".join(f"{old or ABSENT} {new or ABSENT} {ref}\n" for ref, (old, new) in moves.items())
        if said := _hook(remote, "pre-receive", (), lines):
            raise GitFailed(words, 1, said + _rejected("remote rejected", moves, moves, "pre-receive hook declined"))
        hooks = {ref: _hook(remote, "update", (ref, old or ABSENT, new or ABSENT)) for ref, (old, new) in moves.items()}
        if refused := {ref: said for ref, said in hooks.items() if said}:
            why = _rejected("remote rejected", moves, refused, "hook declined", "atomic push failure")
            raise GitFailed(words, 1, "".join(refused.values()) + why)
        with self._one:
            transactions = self._transactions.setdefault(remote, Transactions(remote))
        if error := transactions.move(moves):
            why = _rejected("remote rejected", moves, moves, "atomic transaction failed")
            raise GitFailed(words, 1, f"remote: error: {error}\n{why}")


class Transactions:
    """One process of `git update-ref` for the transactions of a remote, one after the other."""

    def __init__(self, remote: Path) -> None:
        self._remote = remote
        self._process: subprocess.Popen[str] | None = None
        self._one = threading.Lock()

    def move(self, moves: Mapping[str, tuple[str, str]]) -> str:
        """Move all refs or none. Returns git's error; empty if they have moved."""
        with self._one:
            process = self._process = self._process or self._started()
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            steps = [
                f"update {ref} {new} {old or ABSENT}" if new else f"delete {ref} {old}"
                for ref, (old, new) in moves.items()
            ]
            process.stdin.write("\n".join(["start", *steps, "prepare", "commit", ""]))
            process.stdin.flush()
            answers = [process.stdout.readline() for _ in ("start", "prepare", "commit")]
            if answers[-1] == "commit: ok\n":
                return ""
            self._process = None
            _, errors = process.communicate()
            return errors.strip().removeprefix("fatal: prepare: ")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def _started(self) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            ["git", f"--git-dir={self._remote}", "update-ref", "--stdin"], text=True, env=command.environment(), **pipes
        )


def _hook(remote: Path, name: str, arguments: Sequence[str], says: str = "") -> str:
    """What a hook of the remote says if it refuses; empty if it accepts, or if there is none."""
    hook = remote / "hooks" / name
    if not hook.exists():
        return ""
    told: dict[str, Any] = {"cwd": remote, "input": says, "capture_output": True, "text": True}
    done = subprocess.run(["/bin/sh", hook, *arguments], **told, check=False)
    if not hook.exists():  # it was deleted meanwhile
        return ""
    lines = (done.stdout + done.stderr).splitlines() or ["refused"]
    return "".join(f"remote: {line}\n" for line in lines) if done.returncode else ""


def _rejected(
    how: str, moves: Mapping[str, tuple[str, str]], refused: Any, why: str, others: str = "atomic push failure"
) -> str:
    """git's lines about the refs of an atomic push."""
    lines = []
    for ref, (_, new) in moves.items():
        short = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
        what = f"{new} -> {short}" if new else short
        lines.append(f" ! [{how}] {what} ({why if ref in refused else others})\n")
    return "".join(lines)
