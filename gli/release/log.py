"""`deployment.log`: one line for each operation, for people: when, what, how it ended, from where to where, who, which
verdict.

It is rendered from the journals and never written by hand. The landed operations can be rebuilt from the tags of the
repositories alone. The file lies in the state folder, and on its own branch in the log repository: on main it would
change the verified tree. A line there is one commit, pushed with a lease on the old tip; nothing on that branch is ever
rewritten.

Source of truth: the events of `gli.release.journal`, the JSON in the tags.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gli.common.clock import now, rfc3339
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.git.command import GitFailed
from gli.git.tags import is_of_operation, trailer
from gli.release import journal as journals
from gli.release.journal import Event, Journal
from gli.release.landed import landed, said_by_tags
from gli.release.mirror import Mirror, Refs, Specs
from gli.release.repositories import ls_remote

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
_ATTEMPTS = 5
_LONGEST = 1000  # longest reason: a thousand conflicts do not fit in a line
_ESCAPED = "surrogateescape"  # a reason may hold bytes outside UTF-8
_NEXT = f"refs/next/log-{os.getpid()}"
_UNFINISHED = "unfinished"
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
    """One line of the log."""

    at: str
    """The begin of the operation: RFC 3339, UTC."""
    name: str
    """The tag of an operation that landed; the id of any other operation."""
    outcome: str
    way: str
    """`stg -> main`."""
    actor: str
    approved_by: str | None = None
    verdict: str | None = None
    """The end of the run whose verdict the operation rested on."""
    before: Mapping[str, str] | None = None
    """The tree of each repository's branch; None if the operation did not land."""
    after: Mapping[str, str] | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """The identity of the line: no two lines share it."""
        return f"{self.at} {self.name} {self.outcome.replace(' ', '-')}"

    def __str__(self) -> str:
        parts = [self.key, self.way]
        if self.before and self.after:
            moved = sum(self.before.get(name) != tree for name, tree in self.after.items())
            parts.append(f"{_release(self.before)} -> {_release(self.after)} ({moved} of {len(self.after)} changed)")
        parts.append(f"by {self.actor}")
        parts += [f"approved by {self.approved_by}"] if self.approved_by not in (None, self.actor) else []
        parts += [f"verdict {self.verdict}"] if self.verdict else []
        reason = self.reason if len(self.reason) <= _LONGEST else f"{self.reason[:_LONGEST]} ..."
        return " ".join((" ".join(filter(None, parts)) + (f": {reason}" if reason else "")).split())


def entries(state: Path) -> list[Entry]:
    """The lines of the journals in a state folder, oldest first. A journal that was changed becomes a line that says
    so.
    """
    return _lacking(state, ())


def foreseen(journal: Journal, **detail: Any) -> Entry:
    """The line of an operation under way, as it will be if it ends `done` with this detail."""
    return _of_journal([*journal.events, replace(journal.events[-1], event="done", detail=detail)])


def rebuilt(mirrors: Iterable[Mirror], deploy_tag: str) -> list[Entry]:
    """Everything that landed on the live branch, oldest first, by the tags in the mirrors. `deploy_tag` is the format
    of a deploy tag.

    A tag that was made by hand gives only its moment and its author. The tag of an operation that was undone, on a host
    that keeps tags, is left out.
    """
    known = {mirror.name: mirror for mirror in mirrors}
    refs = {name: mirror.refs() for name, mirror in known.items()}
    documents = said_by_tags(refs)
    undone = documents.keys() - landed(known, refs, documents).keys()
    about: dict[str, tuple[str, str, str]] = {}
    live = next((mirror.branches.live for mirror in known.values()), "")
    for mirror in known.values():
        listing = mirror.git("for-each-ref", f"--format={_TAG}", "refs/tags")
        for record in listing.split("\1\n")[:-1]:
            name, at, tagger, message = record.split("\0", 3)
            if is_of_operation(name, deploy_tag) and name not in undone:
                about[name] = (at, tagger, message)
    found = (_of_tag(name, live, *said) for name, said in about.items())
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.key)


def write(state: Path) -> Path:
    """Render the journals into the state folder's file; returns its path."""
    path = state / FILE
    state.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(_text(map(str, entries(state))), encoding="utf-8", errors=_ESCAPED)
    part.replace(path)
    return path


def note(state: Path) -> None:
    """Append the missing lines of ended operations to the state folder's file."""
    path = state / FILE
    text = path.read_text(encoding="utf-8", errors=_ESCAPED) if path.is_file() else ""
    there = {_key(line) for line in text.splitlines()}
    with path.open("a", encoding="utf-8", errors=_ESCAPED) as file:
        file.write("" if text.endswith("\n") or not text else "\n")
        file.write(_text(map(str, _ended(_lacking(state, there)))))


def joined(lines: Sequence[str], state: Path) -> list[str]:
    """The lines of the branch, and the lines of this machine that the branch lacks."""
    return [*lines, *map(str, _lacking(state, {_key(line) for line in lines}))]


@dataclass
class Branch:
    """The branch of the log repository. It is read and built in that repository's mirror."""

    mirror: Mirror
    state: Path
    """The state folder with this machine's journals."""
    name: str = "deployments"
    path: str = FILE
    tip: str | None = None
    """The head of the branch as last seen; empty if the branch does not exist, None if it was not asked for yet."""
    _text: str = ""
    """The content of the log at `tip`."""
    _read: str | None = None
    """The commit whose log is in `_text`."""
    _made: tuple[str, str] = ("", "")
    """The last commit that `adding` made, and the log in it."""

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.name}"

    def saw(self, refs: Refs) -> None:
        """Note the refs that a fetch of the repository brought."""
        there = refs.branches.get(self.name)
        self.tip = there.id if there else ""

    def look(self) -> list[str]:
        """The lines that the branch has now. Raises `GitFailed` if the remote can't be asked."""
        tip = ls_remote(self.mirror.repository, [self.ref]).get(self.ref, "")
        if tip:
            self.mirror.bring(self.ref)
        self.tip = tip
        return self.lines()

    def lines(self) -> list[str]:
        """The lines as last seen; asks the remote if it was not asked yet."""
        if self.tip is None:
            return self.look()
        if self._read != self.tip:
            text = self._file() if self.tip else ""
            self._text = text if text.endswith("\n") or not text else f"{text}\n"  # edited by hand
            self._read = self.tip
        return self._text.splitlines()

    def _file(self) -> str:
        try:
            return self.mirror.git("cat-file", "blob", f"{self.tip}:{self.path}")
        except GitFailed as e:
            if "does not exist in" in e.stderr:  # a branch made by hand
                return ""
            raise

    def lacks(self, lines: Iterable[str]) -> list[Entry]:
        """The lines of this machine's ended operations that the branch lacks."""
        return _ended(_lacking(self.state, {_key(line) for line in lines}))

    def closing(self, line: Entry) -> Specs:
        """What a push must contain to add the line of the operation that it ends, and the lines that were missing
        before.
        """
        return self.adding([*self.lacks(self.lines()), line])

    def adding(self, missing: Sequence[Entry]) -> Specs:
        """Commits each missing line on top of the last seen branch, and returns the refs to push."""
        self.lines()
        if self.mirror.signing.commits:
            return self._signed(missing)
        text, stream = self._text, [f"reset {_NEXT}\n" + (f"from {self.tip}\n\n" if self.tip else "")]
        for entry in missing:
            text += f"{entry}\n"
            who = entry.actor if entry.actor.endswith(">") else f"{entry.actor} <>"
            message = _data(f"{entry.name} {entry.outcome}")
            stream.append(f"commit {_NEXT}\nmark :1\ncommitter {who} {int(now().timestamp())} +0000\n{message}")
            stream.append(f"M 100644 inline {self.path}\n{_data(text)}")
        stream.append("get-mark :1\n")
        made = self.mirror.git("fast-import", "--quiet", "--force", says="".join(stream)).strip()
        self._made = made, text
        return {self.ref: (made, self.tip or "")}

    def _signed(self, missing: Sequence[Entry]) -> Specs:
        """Like `adding`, with signed commits, which git-fast-import can't make."""
        text, tip = self._text, self.tip or ""
        env = {"GIT_INDEX_FILE": str(self.mirror.folder / "log-index")}
        for entry in missing:
            text += f"{entry}\n"
            self.mirror.git("read-tree", *([tip] if tip else ["--empty"]), env=env)
            blob = self.mirror.make_blob(text)
            self.mirror.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{self.path}", env=env)
            tree = self.mirror.git("write-tree", env=env).strip()
            tip = self.mirror.make_commit(tree, [tip] if tip else [], f"{entry.name} {entry.outcome}\n")
        self._made = tip, text
        return {self.ref: (tip, self.tip or "")}

    def added(self) -> None:
        """Note that the push of what `adding` made has landed."""
        self.tip, self._text = self._made
        self._read = self.tip


def publish(branch: Branch) -> list[str]:
    """Push every line of this machine's ended operations that the branch lacks; returns these lines.

    Raises `GitFailed` if the branch can't be reached or pushed; the next call then brings the missing lines.
    """
    for attempt in range(_ATTEMPTS):
        missing = branch.lacks(branch.look() if attempt else branch.lines())
        if not missing:
            return []
        try:
            branch.mirror.push(branch.adding(missing))
        except GitFailed as e:  # another machine's line came first: look again
            if "rejected]" not in e.stderr or attempt == _ATTEMPTS - 1:
                raise
        else:
            branch.added()
            break
    return [str(entry) for entry in missing]


def _lacking(state: Path, there: Container[str]) -> list[Entry]:
    """The lines of the journals that are not among these keys, oldest first.

    Journals are read from the newest back to the first known line: the lines before it were brought together with it.
    """
    found: list[Entry] = []
    for path in reversed(journals.paths(state)):
        entry = _entry(path)
        if entry is not None and entry.key in there:
            break
        found += [entry] if entry is not None else []
    return found[::-1]


def _ended(found: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in found if entry.outcome != _UNFINISHED]


def _entry(path: Path) -> Entry | None:
    """The line of a journal; None if the journal announced nothing."""
    try:
        events = journals.read(path)
    except UsageError as e:
        at = rfc3339(datetime.strptime(path.stem[:15] + "+0000", "%Y%m%d-%H%M%S%z"))
        return Entry(at, path.stem, "unreadable", "", "somebody", reason=str(e))
    return _of_journal(events) if events else None


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
        outcome=_UNFINISHED if undecided else outcome,
        way=_way(opened),
        actor=first.actor,
        approved_by=approved.get("approved_by"),
        verdict=_finished(planned),
        before=_trees(moves, "old_tree") if done else None,
        after=_trees(moves, "tree") if done else None,
        reason=str(said),
    )


def _of_tag(name: str, live: str, at: str, tagger: str, message: str) -> Entry | None:
    """The line of a tag; None for a tag without a moment, which belongs to no release."""
    said = trailer(message)
    if said is None or "moves" not in said:
        try:
            moment = rfc3339(datetime.fromtimestamp(int(at), UTC))
        except (ValueError, OverflowError, OSError):
            return None
        return Entry(moment, name, "tagged", live, tagger.strip() or "somebody")
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
    """The name of the content of all repositories together. The `after` of one line equals the `before` of the next,
    and the `after` of a rollback equals that of the release that it restored.
    """
    return manifest_id(trees)[:8]


def _way(opened: Mapping[str, Any]) -> str:
    return " -> ".join(part for part in (opened.get("source"), opened.get("branch")) if part)


def _finished(planned: Mapping[str, Any]) -> str | None:
    return (planned.get("verdict") or {}).get("finished")


def _key(line: str) -> str:
    return " ".join(line.split()[:3])


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
