"""The common begin and end of every operation on the eight repositories.

A session holds the lock of this machine; each operation in it has a journal. An operation that a crash left unfinished
must be finished or undone before a new one begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from gli.common.clock import now
from gli.common.errors import DiskError, UsageError
from gli.git import identity
from gli.git.command import GitFailed
from gli.git.identity import UNSIGNED, Signing
from gli.git.refs import FENCE, LOCK
from gli.git.tags import EMERGENCY_TAG, ROLLBACK_TAG
from gli.release import fence, lock, log, moments, plan
from gli.release import journal as journals
from gli.release.engine import PATIENCE_S, Operation
from gli.release.fence import Mark
from gli.release.journal import Journal
from gli.release.mirror import Mirror, Refs
from gli.release.plan import Move, Refused
from gli.release.refusals import short
from gli.release.settings import Settings
from gli.release.side_by_side import answers, on_each

T = TypeVar("T")
_TITLES = {
    "deploy": "Deployed to production",
    "rollback": "Rolled back",
    "reset": "Rolled back by reset",
    "emergency": "Pushed to production, not verified",
}


@dataclass(frozen=True)
class Request:
    """What a person is asked to approve."""

    id: str
    """The text that the person must type, or give with --approve: see `plan.approval_id`."""
    title: str
    lines: tuple[str, ...]
    production: bool
    requested_by: str
    second_person: Literal["", "now", "later"] = ""
    """Whether somebody else has to approve: at once, or later by an acknowledgement."""


@dataclass(frozen=True)
class Approval:
    """The person who approved; None for an emergency that no second person has seen yet."""

    approved_by: str | None


Approve = Callable[[Request], Approval]
"""Asks a person. Raises `Refused` if the answer is no."""


@dataclass(frozen=True)
class Planned:
    """What an operation will do after its approval."""

    moves: Mapping[str, Move]
    says: Mapping[str, Any]
    """The fields that the journal and the tag hold in addition to the moves."""
    request: Request
    tag: str | None = None
    tag_all: bool = True
    """Whether repositories that do not move get the tag too."""
    before_moving: Callable[[], None] = lambda: None
    """Called when the new commits are parked."""


@dataclass(frozen=True)
class Session:
    """The repositories, and the lock of this machine."""

    settings: Settings
    actor: str
    """`Name <e-mail>` of the git identity."""
    running: Path
    """The file in which every git that fetches or pushes notes its process."""
    say: Callable[[str], None]
    patience: Sequence[float] = PATIENCE_S
    signing: Signing = UNSIGNED

    @contextmanager
    def operation(self, *, dry_run: bool = False, **asked: Any) -> Iterator[Operation]:
        """A new operation with its journal. If it ends with `Refused`, the journal records that. A dry run leaves no
        trace.

        Raises `Refused` if an earlier operation is unfinished.
        """
        self.nothing_half_finished()
        with _folder(None if dry_run else journals.folder(self.settings.state)) as folder:
            journal = self._journal(folder)
            journal.append("opened", **asked)
            operation = self.around(journal)
            try:
                with self.logged(operation, dry_run=dry_run):
                    yield from self._refusing(operation)
            finally:
                journal.close()

    def _refusing(self, operation: Operation) -> Iterator[Operation]:
        """An error before anything was pushed ends the operation's journal. Raises `Refused` for an error of git."""
        journal = operation.journal
        try:
            yield operation
        except (Refused, GitFailed, KeyboardInterrupt) as e:
            refused = e if isinstance(e, Refused) else Refused(str(e) or "interrupted", code=3)
            if journals.last(journal.events, "pushing") is None and not journals.is_final(journal.events):
                journal.append("refused", reason="; ".join(refused.reasons), code=refused.code)
            raise e if isinstance(e, KeyboardInterrupt) else refused from None

    @contextmanager
    def logged(self, operation: Operation, *, dry_run: bool = False) -> Iterator[None]:
        """If the block ends the operation with 0 or 1, its line is added to the log, here and on the log's branch. The
        next operation adds the lines of all others.

        Raises `DiskError` with how far the operation came where this machine fails once remotes hold something of it.
        """
        try:
            yield
        except Refused as e:
            if (e.code == 1 or journals.is_overtaken(operation.journal.events)) and not dry_run:
                self._publish(operation.log)
            raise
        except OSError as e:
            if journals.last(operation.journal.events, "parking") is None:
                raise
            failed = f"{e.filename or 'a file'} can't be used: {e.strerror or e}"
            raise DiskError(f"{failed}; {operation.journal.so_far}") from None
        self._publish(operation.log)

    def _publish(self, branch: log.Branch) -> None:
        """Publish the log. If this fails, the next operation adds the missing lines."""
        try:
            log.note(self.settings.state)
        except OSError as e:
            self.say(f"{self.settings.state / log.FILE} can't be written: {e.strerror}")
        try:
            log.publish(branch)
        except GitFailed as e:
            self.say(f"the log is written here, but not on {branch.mirror.name}: {short(e)}")

    def around(self, journal: Journal) -> Operation:
        """The operation of a journal, before its moves are known."""
        moment = moments.began(journal)
        name, _, mail = self.actor.rpartition(" <")
        date = f"{int(moment.timestamp())} +0000"
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (
                ("NAME", name),
                ("EMAIL", mail.rstrip(">")),
                ("DATE", date),
            )
        }
        chosen = self.settings
        mirrors = chosen.mirrors(self.running, identity, self.signing)
        return Operation(journal, mirrors, chosen.log_in(mirrors), self.say, self.patience)

    def fetch(self, operation: Operation) -> dict[str, Refs]:
        """Fetch the refs of every repository. Raises `Refused` with code 3 if a repository can't be reached."""
        return {name: refs for name, (refs, _) in self.fetch_and(operation, lambda mirror, refs: None).items()}

    def fetch_and(self, operation: Operation, work: Callable[[Mirror, Refs], T]) -> dict[str, tuple[Refs, T]]:
        """Like `fetch`, with the result of `work` for each repository as soon as it was fetched."""

        def one(mirror: Mirror) -> tuple[Refs, T]:
            refs = mirror.fetch()
            try:
                done = work(mirror, refs)
            except GitFailed as e:  # an old object that the fetch did not need may be damaged
                if not mirror.made_again(e):
                    raise
                refs = mirror.fetch()
                done = work(mirror, refs)
            if mirror is operation.log.mirror:
                operation.log.saw(refs)
            return refs, done

        return answers(on_each(operation.mirrors.values(), one, say=self.say))

    def carry_out(
        self,
        operation: Operation,
        refs: Mapping[str, Refs],
        planned: Planned,
        approve: Approve,
        *,
        dry_run: bool = False,
    ) -> None:
        """Write the plan into the journal, ask for the approval, and run the operation."""
        taken_over = self.lock_of_another(operation, refs)
        if apart := moments.apart(refs, now()):
            self.say(apart)
        request, moves, tag = planned.request, planned.moves, planned.tag
        operation.moves = moves
        operation.journal.append("planned", **planned.says, moves=plan.document(moves), tag=tag)
        if dry_run:
            for line in (request.title, f"id {request.id}", *request.lines):
                self.say(line)
            raise Refused("dry run: nothing was pushed", code=0)
        approval = approve(request)
        operation.journal.append(
            "approved", requested_by=request.requested_by, approved_by=approval.approved_by, approved=request.id
        )
        if tag is not None:
            operation.tag, operation.message = tag, self._message(operation, planned, approval)
            operation.tagged = [name for name, move in moves.items() if planned.tag_all or move.moves]
        holder = lock.Holder.this_process(operation.id, self.actor)
        operation.lock = holder.made(operation.mirrors[operation.home], taken_over)
        operation.go(taken_over, planned.before_moving)

    def tell_github(self, moves: Mapping[str, Move], description: str) -> None:
        """Tell GitHub that the new commits were verified, if a target is configured. Raises `Refused` if that fails."""
        if self.settings.statuses is not None:
            commits = {name: move.new for name, move in moves.items() if move.moves}
            problems = self.settings.statuses.publish(commits, "success", description)
            if problems:
                raise Refused(*(p.sentence for p in problems), code=min(p.code for p in problems))

    def tag_name(self, kind: str, operation: Operation, refs: Mapping[str, Refs]) -> str:
        """The name of a new tag: the moment at which the operation began, or the next second that no tag has."""
        taken = {tag for r in refs.values() for tag in r.tags}
        moment = moments.began(operation.journal).astimezone(moments.zone(self.settings.timezone))
        form = {"deploy": self.settings.deploy_tag, "rollback": ROLLBACK_TAG, "emergency": EMERGENCY_TAG}[kind]
        while moment.strftime(form) in taken:
            moment += timedelta(seconds=1)
        return moment.strftime(form)

    def _journal(self, folder: Path) -> Journal:
        """A new journal, with an id after all existing ones, even if the clock was put back."""
        while True:
            moment = now()
            newest = max(journals.ids(folder), default="")
            if newest >= moments.id_of(moment):
                moment = moments.of(newest) + timedelta(seconds=1)
            try:
                return Journal.create(folder, moments.id_of(moment), self.actor)
            except FileExistsError:
                continue

    def nothing_half_finished(self) -> None:
        """Raises `Refused` if an operation of this machine has not ended."""
        path = half_finished(self.settings.state)
        if path is None:
            return
        journal = Journal.reopen(path, self.actor)
        try:
            if journals.last(journal.events, "parking") is not None:
                raise Refused(f"{path.stem} was left half-finished: gli promote --resume, or gli promote --undo")
            journal.append("refused", reason="left before anything moved", code=1)
        finally:
            journal.close()

    def lock_of_another(self, operation: Operation, refs: Mapping[str, Refs]) -> str | None:
        """The object of the lock ref of an operation that has ended; None if there is no lock.

        Raises `Refused` if another operation is under way, by the lock or by the fence of any repository.
        """
        home, mirrors = operation.home, operation.mirrors
        marks = {name: self.mark(mirrors[name], found) for name, found in refs.items()}
        busy, last, held = fence.under_way(marks, home), marks[home], refs[home].lock
        if held is not None:
            holder = lock.Holder.of(mirrors[home], held)
            if holder is None:
                raise Refused(f"{LOCK} of {home} names no holder; find out whose it is, then delete it")
            over = last is not None and last.id == holder.id and last.state != fence.PARKED and busy is None
            if not over and not self._has_ended(holder.id):
                gone = self.gone(holder.id, holder.host)
                raise Refused(f"{holder} is releasing {holder.id}; try again when that has ended. {gone}")
        elif busy is not None and not self._has_ended(busy.id):
            raise Refused(f"{busy} has not ended; try again when it has. {self.gone(busy.id, busy.host)}")
        operation.before = {name: found.fence for name, found in refs.items()}
        return held

    def gone(self, id_: str, host: str) -> str:
        """A sentence: what to do if nobody can end an operation on the machine that began it."""
        lost = "its machine is gone" if host != os.uname().nodename else "the state folder that it was begun in is lost"
        return f"Where {lost}: gli promote --take-over {id_}"

    def mark(self, mirror: Mirror, refs: Refs) -> Mark | None:
        """The fence of a fetched repository; None without a fence. Raises `Refused` if no operation wrote the fence."""
        if not refs.fence:
            return None
        mark = Mark.of(mirror, refs.fence)
        if mark is None:
            raise Refused(f"{FENCE} of {mirror.name} names no operation; find out whose it is, then delete it")
        return mark

    def _has_ended(self, id_: str) -> bool:
        """Whether the id belongs to an operation of this machine that has ended here: what the remotes still hold of it
        is old.
        """
        path = journals.of(self.settings.state, id_)
        events = journals.read(path) if path.exists() else None
        return events is not None and journals.is_final(events) and not journals.is_overtaken(events)

    def _message(self, operation: Operation, planned: Planned, approval: Approval) -> str:
        """The message of a tag: for people, and as JSON for rebuilding the log and for planning the next operation."""
        opened = operation.journal.events[0]
        document = {
            "id": operation.id,
            "at": opened.at,
            "tag": planned.tag,
            **opened.detail,
            **planned.says,
            "actor": self.actor,
            "approved_by": approval.approved_by,
            "journal": operation.journal.head,
            "moves": {
                n: {"action": m.action, "old": m.old, "new": m.new, "old_tree": m.old_tree, "tree": m.tree}
                for n, m in planned.moves.items()
            },
        }
        return f"{_TITLES[document['kind']]}\n\n{json.dumps(document, ensure_ascii=False, indent=1)}\n"


@contextmanager
def session(
    settings: Settings, say: Callable[[str], None], patience: Sequence[float] = PATIENCE_S
) -> Iterator[Session]:
    """Hold the lock of this machine, and one connection to the host if it is reached by ssh. Raises `Refused` if
    another process holds the lock.
    """
    actor, first = identity.identity(), settings.repositories[0]
    try:
        with lock.local(settings.state, actor) as running:
            settings.claim()
            mirror, count = settings.mirrors()[first.name], len(settings.repositories)
            with first.connections.shared(first.url, mirror.folder, say, count):
                yield Session(settings, actor, running, say, patience, identity.signing())
    except lock.Busy as e:
        raise Refused(str(e)) from None


def half_finished(state: Path) -> Path | None:
    """The journal of an operation that has not ended; None if there is none."""
    for path in reversed(journals.paths(state)):
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except OSError as e:
            raise UsageError(f"{path} can't be read: {e.strerror}; so nobody knows whether it has ended") from None
        try:
            ended = bool(lines) and json.loads(lines[-1]).get("event") in journals.FINAL
        except (ValueError, AttributeError, RecursionError):
            ended = False
        if not ended:
            return path
    return None


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """The folder of a journal; for a dry run a temporary one."""
    if folder is not None:
        yield folder
        return
    import tempfile  # only a dry run needs it

    with tempfile.TemporaryDirectory() as nowhere:
        yield Path(nowhere)
