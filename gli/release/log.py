"""`deployment.log`: a line an operation, for people: when, what, how it ended, from where to where, who, which verdict.

Rendered from the journals, never written by hand; what landed can be rebuilt from the tags of the repositories alone.
The file lies in the state folder, and on a branch of its own in the log repository: on main it would change the tree
that was verified. A line there is one commit, pushed with a pinned lease; nothing on that branch is ever rewritten.
Source of truth: the events of `gli.release.journal`, the JSON in the tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gli.clock import is_time, now, rfc3339
from gli.errors import UsageError
from gli.release import journal as journals
from gli.release.journal import Event
from gli.release.mirror import Mirror, trailer
from gli.release.plan import trees_id
from gli.release.repositories import GitFailed, Repository, git, ls_remote

FILE = "deployment.log"
_DONE = {
    "deploy": "deployed",
    "merge": "merged",
    "rollback": "rolled back",
    "reset": "reset",
    "emergency": "pushed unverified",
    "push": "pushed",
    "acknowledgement": "acknowledged",
}
_PREFIXES = ("rollback-", "reset-", "emergency-")
_ATTEMPTS = 5
_NEXT = "refs/heads/next"
_TAG = "%00".join(
    (
        "%(refname:lstrip=2)",
        "%(creatordate:unix)",
        "%(taggername) %(taggeremail)",
        "%(contents)%01",
    )
)


@dataclass(frozen=True)
class Entry:
    """One line."""

    at: str
    """When it began: RFC 3339, UTC."""
    name: str
    """The tag of what landed, the operation's id of anything else."""
    outcome: str
    way: str
    """`stg -> main`."""
    actor: str
    approved_by: str | None = None
    verdict: str | None = None
    """When the verdict that it rested on was finished."""
    before: Mapping[str, str] | None = None
    """The tree of each repository's branch; None where nothing landed."""
    after: Mapping[str, str] | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """What names the line: no two have it."""
        return f"{self.at} {self.name} {self.outcome.replace(' ', '-')}"

    def __str__(self) -> str:
        parts = [self.key, self.way]
        if self.before and self.after:
            moved = sum(self.before.get(name) != tree for name, tree in self.after.items())
            parts.append(f"{_release(self.before)} -> {_release(self.after)} ({moved} of {len(self.after)} changed)")
        parts.append(f"by {self.actor}")
        parts += [f"approved by {self.approved_by}"] if self.approved_by not in (None, self.actor) else []
        parts += [f"verdict {self.verdict}"] if self.verdict else []
        return " ".join((" ".join(filter(None, parts)) + (f": {self.reason}" if self.reason else "")).split())


def is_release(tag: str) -> bool:
    """Whether a tag is of an operation that changed the live branch, other than a deployment (see `is_time`)."""
    return tag.startswith(_PREFIXES)


def entries(state: Path) -> list[Entry]:
    """What the journals of a state folder say, oldest first; a journal that was changed is an entry that says so."""
    found = []
    for path in sorted(journals.folder(state).glob("*.jsonl")):
        try:
            events = journals.read(path)
        except UsageError as e:
            at = rfc3339(datetime.strptime(path.stem[:15] + "+0000", "%Y%m%d-%H%M%S%z"))
            found.append(Entry(at, path.stem, "unreadable", "", "somebody", reason=str(e)))
        else:
            found += [_of_journal(events)] if events else []
    return found


def rebuilt(mirrors: Iterable[Mirror], deploy_tag: str) -> list[Entry]:
    """What the tags say that the mirrors hold: everything that landed on the live branch, oldest first.

    `deploy_tag` is the form of a deploy tag. Of one that was made by hand no more is known than its moment and
    whoever made it.
    """
    about: dict[str, tuple[str, str, str]] = {}
    for mirror in mirrors:
        listing = mirror.git("for-each-ref", f"--format={_TAG}", "refs/tags")
        for record in listing.split("\1\n")[:-1]:
            name, at, tagger, message = record.split("\0", 3)
            if is_time(name, deploy_tag) or is_release(name):
                about[name] = (at, tagger, message)
    return sorted((_of_tag(name, *said) for name, said in about.items()), key=lambda entry: entry.key)


def write(state: Path) -> Path:
    """Render the journals into the state folder's file; its path."""
    path = state / FILE
    state.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(_text(map(str, entries(state))), encoding="utf-8")
    part.replace(path)
    return path


def published(repository: Repository, state: Path, *, branch: str, path: str) -> list[str]:
    """The lines that the branch of the log repository has; raises `GitFailed` where it can't be asked."""
    return _Branch(repository, state, branch, path).look()


def joined(lines: Sequence[str], ours: Iterable[Entry]) -> list[str]:
    """The lines of the branch, and those of this machine that it lacks."""
    there = {_key(line) for line in lines}
    return [*lines, *(str(entry) for entry in ours if entry.key not in there)]


def lacking(repository: Repository, state: Path, *, branch: str, path: str) -> list[Entry]:
    """What this machine did and the branch does not say; raises `GitFailed` where it can't be asked."""
    return _Branch(repository, state, branch, path).lacks()


def publish(repository: Repository, state: Path, *, branch: str, path: str, fds: Sequence[int] = ()) -> list[str]:
    """Write the file of this machine, and push every line that the branch lacks; the lines that it lacked.

    Raises `GitFailed` where the branch can't be reached or pushed: then the next call brings what is missing.
    """
    write(state)
    remote = _Branch(repository, state, branch, path, tuple(fds))
    for attempt in range(_ATTEMPTS):
        missing = remote.lacks(asking=attempt > 0)
        if not missing:
            return []
        try:
            remote.append(missing)
        except GitFailed as e:  # somebody else's line came first: look again
            if "rejected]" not in e.stderr or attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    return [str(entry) for entry in missing]


@dataclass
class _Branch:
    """The branch of the log repository, and a bare repository of our own to build its commits in."""

    repository: Repository
    state: Path
    branch: str
    path: str
    fds: tuple[int, ...] = ()
    tip: str = ""
    content: str = ""

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def look(self) -> list[str]:
        """The lines that are there now."""
        tip = ls_remote(self.repository, [self.ref], pass_fds=self.fds).get(self.ref, "")
        if tip:
            quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--depth=1")
            self._git("fetch", *quiet, self.repository.url, self.ref)
        return self._read(tip)

    def remembered(self) -> list[str]:
        """The lines that were there when this machine pushed last; asks where it never did."""
        known = self._folder.is_dir() and self._git("rev-parse", "--verify", "--quiet", self.ref, accept=(0, 1)).strip()
        return self._read(known) if known else self.look()

    def lacks(self, *, asking: bool = True) -> list[Entry]:
        """The entries of this machine's ended operations that are not there, as it is now or was last."""
        there = {_key(line) for line in (self.look() if asking else self.remembered())}
        return [e for e in entries(self.state) if e.key not in there and e.outcome != "unfinished"]

    def append(self, missing: Sequence[Entry]) -> None:
        """One commit a line, all in one push."""
        text, stream = self.content, [f"reset {_NEXT}\n" + (f"from {self.tip}\n\n" if self.tip else "")]
        for entry in missing:
            text += f"{entry}\n"
            who = entry.actor if entry.actor.endswith(">") else f"{entry.actor} <>"
            message = _data(f"{entry.name} {entry.outcome}")
            stream.append(f"commit {_NEXT}\ncommitter {who} {int(now().timestamp())} +0000\n{message}")
            stream.append(f"M 100644 inline {self.path}\n{_data(text)}")
        self._git("fast-import", "--quiet", "--force", says="".join(stream))
        lease = f"--force-with-lease={self.ref}:{self.tip}"
        self._git("push", "--no-verify", lease, self.repository.url, f"{_NEXT}:{self.ref}")
        self._git("update-ref", self.ref, _NEXT)

    def _read(self, tip: str) -> list[str]:
        """The lines of a commit's file; remembers both."""
        self.tip = tip
        # 128 where the branch has no such file yet
        self.content = self._git("cat-file", "blob", f"{tip}:{self.path}", accept=(0, 128)) if tip else ""
        return self.content.splitlines()

    @property
    def _folder(self) -> Path:
        return self.state / "log.git"

    def _git(self, *arguments: str, says: str | None = None, accept: Sequence[int] = (0,)) -> str:
        if not (self._folder / "HEAD").is_file():
            git("init", "--quiet", "--bare", "--template=", str(self._folder))
        return git(*arguments, git_dir=self._folder, says=says, accept=accept, pass_fds=self.fds)


def _data(text: str) -> str:
    return f"data {len(text.encode(errors='surrogateescape'))}\n{text}\n"


def _of_journal(events: Sequence[Event]) -> Entry:
    first, last = events[0], events[-1]
    opened, planned = first.detail, journals.last(events, "planned") or {}
    approved = journals.last(events, "approved") or {}
    done = last.event == "done"
    moves = planned.get("moves", {})
    outcome = _DONE.get(opened["kind"], opened["kind"]) if done else last.event
    undecided = last.event not in (*journals.FINAL, "stuck")
    said = last.detail.get("reason", "") if not done else {**opened, **planned}.get("reason", "")
    return Entry(
        at=first.at,
        name=last.detail.get("tag") or first.id if done else first.id,
        outcome="unfinished" if undecided else outcome,
        way=_way(opened),
        actor=first.actor,
        approved_by=approved.get("approved_by"),
        verdict=_finished(planned),
        before=_trees(moves, "old_tree") if done else None,
        after=_trees(moves, "tree") if done else None,
        reason=str(said),
    )


def _of_tag(name: str, at: str, tagger: str, message: str) -> Entry:
    said = trailer(message)
    if said is None or "moves" not in said:
        moment = rfc3339(datetime.fromtimestamp(int(at), UTC))
        return Entry(moment, name, "tagged", "main", tagger.strip() or "somebody")
    return Entry(
        at=said["at"],
        name=name,
        outcome=_DONE.get(said["kind"], said["kind"]),
        way=_way(said),
        actor=said["actor"],
        approved_by=said.get("approved_by"),
        verdict=_finished(said),
        before=_trees(said["moves"], "old_tree"),
        after=_trees(said["moves"], "tree"),
        reason=str(said.get("reason", "")),
    )


def _trees(moves: Mapping[str, Mapping[str, str]], key: str) -> dict[str, str] | None:
    return (
        {name: move[key] for name, move in moves.items()} if moves and all(key in m for m in moves.values()) else None
    )


def _release(trees: Mapping[str, str]) -> str:
    """What names the content of all repositories together: one line's `after` is found as the next one's `before`, and
    a rollback's as that of the release which it went back to."""
    return trees_id(trees)[:8]


def _way(opened: Mapping[str, Any]) -> str:
    return " -> ".join(part for part in (opened.get("source"), opened.get("branch")) if part)


def _finished(planned: Mapping[str, Any]) -> str | None:
    return (planned.get("verdict") or {}).get("finished")


def _key(line: str) -> str:
    return " ".join(line.split()[:3])


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
