"""All or nothing: eight pushes that end with every branch moved, or with every branch at the tree that it had.

    parking -> pushing -> decided commit -> done
                       -> decided abort  -> restoring -> undone

Parking (`gli.release.parking`) pushes each new commit to a ref of its own, `refs/promotions/ID/BRANCH`, and asks in
the same connection whether the branches still stand where they stood. One atomic push a repository then moves the
branch with a pinned lease, makes the tag, moves the fence, and takes the parked ref away. So a repository has all of
it or nothing. A push lands only while the fence and the parked ref are as this operation left them: who moves them
first decides, and a push whose end nobody saw can't land any more. A person may take the operation over on another
machine (`gli.release.take_over`); from then on every push of this one is refused, so it stops and says so.

Repositories that are marked so move before the others: if one of them refuses, nothing has moved. The log repository
moves last, when all others have (see `gli.release.push_order`), and its push also adds the line to the deployment
log and frees the lock. That push is the point at which an operation is done, for every reader of the remotes at once.

A refusal that will not pass (a hook, a rule, a branch that moved) decides for abort; what may pass (an unreachable
remote) is tried again for a minute first. To abort puts the old tree on top of what landed; it never rewrites, and it
never touches a branch that somebody else has moved on: then a person has to look. Source of truth: git-push,
gitprotocol-pack (every command carries the id that the ref must have).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from gli.git.command import GitFailed
from gli.git.connections import Connections
from gli.git.refs import FENCE, LOCK
from gli.release import fence, log
from gli.release.fence import Fence, Mark
from gli.release.interrupts import interrupted, uninterrupted
from gli.release.journal import Journal
from gli.release.mirror import Mirror, Specs
from gli.release.parking import park, unpark
from gli.release.plan import Move, Refused
from gli.release.push_order import NotItsTurn, Turn, hooks_in
from gli.release.refusals import (
    by_cause,
    failures,
    impossible,
    is_lasting,
    refused_refs,
    sentences,
    short,
)
from gli.release.remade import is_remade
from gli.release.repositories import each
from gli.release.repository_operation import MovedOn, Part

T = TypeVar("T")
_REMADE = "its mirror on this machine was damaged, and is made again"
PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
LONGEST_S = 120.0
"""After this time nothing is tried again: a remote that hangs must not keep the others half moved."""


class Stuck(Refused):
    """Neither end was reached. `--resume`, `--undo` or a person must continue. Exit code 3."""


@dataclass
class Operation:
    """One operation under way: its journal, and the mirrors that it works in."""

    journal: Journal
    mirrors: Mapping[str, Mirror]
    log: log.Branch
    say: Callable[[str], None]
    patience: Sequence[float] = PATIENCE_S
    """Seconds to wait before each further attempt, for errors that may pass."""
    moves: Mapping[str, Move] = field(default_factory=dict)
    tag: str | None = None
    tagged: Collection[str] = ()
    """The repositories that get the tag."""
    message: str = ""
    """The message of the tag."""
    tags: dict[str, str] = field(default_factory=dict)
    """Repository to the tag's object, once the object exists."""
    lock: str = ""
    """The object that the lock ref points at."""
    fences: dict[str, Fence] = field(default_factory=dict)
    """Repository to the objects that the operation may leave at its fence."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Repository to the object at its fence when the operation was planned."""
    landed: dict[str, bool] = field(default_factory=dict)
    """Repository to whether its push landed. A push whose result is not known is missing here."""

    @property
    def id(self) -> str:
        return self.journal.id

    @property
    def home(self) -> str:
        """The log repository: it holds the lock, and it moves last."""
        return self.log.mirror.name

    @property
    def connections(self) -> Connections:
        return self.mirrors[self.home].repository.connections

    def part(self, name: str) -> Part:
        """What happens to one repository."""
        tag, object_ = (str(self.tag), self.tags.get(name, "")) if name in self.tagged else ("", "")
        return Part(
            self.mirrors[name],
            self.moves[name],
            self.journal,
            self.say,
            self.fences[name],
            self.before.get(name, ""),
            name == self.home,
            tag,
            object_,
        )

    def go(self, taken_over: str | None, before_moving: Callable[[], None] = lambda: None) -> None:
        """Run the operation from parking to its end.

        Raises `Refused` if nothing moved or everything was taken back, else `Stuck`. `taken_over` is the object of a
        lock ref that may be replaced; `before_moving` is called when all commits are parked.
        """
        park(self, taken_over)
        try:
            before_moving()
        except (Refused, KeyboardInterrupt):
            unpark(self)
            raise
        self.push()

    def push(self, *, first: bool = True) -> None:
        """Move every branch and record the end; or take back what moved. If this is not the `first` attempt, the
        remotes are asked which earlier pushes landed.
        """
        with uninterrupted():
            closing = self._closing()
            self.journal.append("pushing")
            against = self._push_all(first, closing)
            if against:
                self.abort(against)
            self.finish()

    def has_landed(self, name: str) -> bool:
        """Whether the push of a repository has landed, or the repository has no push. Raises `GitFailed`. Once the push
        of the log repository has landed, the whole operation has.
        """
        part = self.part(name)
        return bool(self.landed.get(name)) or not part.lands or part.landed(part.look())

    def finish(self) -> None:
        """Record the end: every push has landed."""
        self.journal.append("decided", decision="commit", reason="")
        self.unlock()
        self.journal.append("done", tag=self.tag)

    def abort(self, reason: str) -> None:
        """Record the decision to abort, and take back what moved. Always raises."""
        with uninterrupted():
            self.journal.append("decided", decision="abort", reason=reason)
            self.restore(reason)

    def restore(self, reason: str) -> None:
        """Take back what moved. Always raises: `Refused` at the end, `Stuck` if a repository can't be reached."""
        back = sorted(self._restore_all())
        self.unlock()
        self.journal.append("undone", reason=reason, moved=back)
        what = f"undone in {', '.join(back)}" if back else "nothing has moved"
        raise Refused(f"{reason}; {what}")

    def overtaken(self) -> NoReturn:
        """Stop: another machine has taken the operation over, and this machine may do no more of it."""
        who = self.taker()
        by = f" by {who.actor} on {who.host}" if who else ""
        self.journal.append("overtaken", by=by.strip(), reason=f"taken over{by}")
        how = "gli log and gli doctor say how it ended"
        raise Stuck(f"{self.id} was taken over{by}: this machine does nothing more of it; {how}", code=3)

    def taker(self) -> Mark | None:
        """The machine that holds the fence of the log repository now; None if the fence can't be read."""
        mirror = self.mirrors[self.home]
        try:
            mirror.bring(f"+{FENCE}:{FENCE}")
            return Mark.of(mirror, FENCE)
        except GitFailed:
            return None

    def close_unmoved(self, reason: str) -> None:
        """End an operation that had only parked its commits."""
        if self.lock:
            unpark(self)
        self.journal.append("refused", reason=reason, code=1)

    def _push_all(self, first: bool, closing: Specs) -> str:
        """Push in all repositories. Returns the reason why a push can't land; empty if all landed."""
        waiting = set(self.moves)
        for came in self._attempts():
            if came:
                return "interrupted"
            failed = self._push_each(waiting, first, closing)
            if any(map(fence.took, failed.values())):
                self.overtaken()
            lasting = {name: e for name, e in failed.items() if is_lasting(e)}
            if lasting:
                return "; ".join(sentences(lasting))
            if not failed:
                return ""
            waiting, first = {*failed, self.home}, False
        if self._only_home_is_missing(failed):  # `--resume` later costs less than to take the others back now
            moved = sum(move.moves for name, move in self.moves.items() if name != self.home)
            where = f"{self.id} is not done: {moved} of {len(self.moves)} repositories have moved, {self.home} is left"
            self._stop(where, failed, "then: gli promote --resume, or gli promote --undo")
        return "; ".join(sentences(failed))

    def _attempts(self) -> Iterator[bool]:
        """One turn for each attempt that is worth making, after its pause; the value says whether a signal came during
        the pause.
        """
        until = 0.0
        for pause in (0.0, *self.patience):
            came = interrupted(self.connections.pause_s(pause))
            if until and not came and time.monotonic() > until:
                return
            yield came
            until = until or time.monotonic() + LONGEST_S  # counted from the first failure: a push may be slow

    def _push_each(self, waiting: Collection[str], first: bool, closing: Specs) -> dict[str, GitFailed]:
        """One attempt in each of these repositories, the log repository among them. Returns the repositories in which
        it failed.
        """
        with ExitStack() as stack:
            early = len(waiting) <= self.connections.most
            hooks = hooks_in(self.log.state) if early else None
            turns = {name: stack.enter_context(Turn(others, hooks)) for name, others in self._order(waiting).items()}
            failed = failures(self.each(waiting, lambda name: self._push_one(name, turns, first, closing)))
        return {name: error for name, error in failed.items() if not isinstance(error, NotItsTurn)}

    def _order(self, waiting: Collection[str]) -> dict[str, set[str]]:
        """Each repository that waits for others, and the repositories it waits for: the log repository waits for all
        others, every other repository for those that move first.
        """
        first = {name for name in waiting if self.mirrors[name].repository.first} - {self.home}
        after = dict.fromkeys({*waiting} - first - {self.home}, first) if first else {}
        return {**after, self.home: {*waiting} - {self.home}}

    def _push_one(self, name: str, turns: Mapping[str, Turn], first: bool, closing: Specs) -> None:
        with ExitStack() as stack:
            for turn in turns.values():
                stack.enter_context(turn.after(name))
            try:
                if first or not self.has_landed(name):
                    if name == self.home:
                        self._push_last(turns[name], closing)
                    else:
                        self._push_moves(name, turns.get(name))
            except NotItsTurn:
                raise
            except GitFailed as e:
                error = GitFailed(e.command, e.code, f"fatal: {_REMADE}") if is_remade(self, name, e) else e
                sure = first and is_lasting(error)  # later, it may be refused because an earlier attempt landed
                if sure:
                    self.landed[name] = False
                self.journal.append("failed", repository=name, reason=short(error), sure=sure)
                self.say(f"{name}: {short(error)}")
                raise error from None
            self.landed[name] = True
            self.journal.append("pushed", repository=name)
            self.say(f"{name}: {'moved' if self.moves[name].moves else 'as it was'}")

    def _push_moves(self, name: str, turn: Turn | None = None) -> None:
        """Push the move of a repository, if there is one."""
        part, mirror = self.part(name), self.mirrors[name]
        specs = part.moving()
        if not specs:
            return
        try:
            mirror.push(specs, turn)
        except GitFailed as e:
            kept = part.parked in refused_refs(e)  # alone, or because a hook refused the whole push
            if not kept or fence.took(e) or (turn is not None and not turn.has_come):
                raise
            mirror.push(part.moving(unpark=False))
            self.say(f"{name}: {part.parked} can't be deleted there and stays; it moves nothing")

    def _closing(self) -> Specs:
        """The refs that the last push adds: the log's line, and the lock's removal. Built before any branch moves.

        The log may not stop a release: if its line can't be built, the line is published afterwards.
        """
        try:
            line = self.log.closing(log.foreseen(self.journal, tag=self.tag))
        except GitFailed as e:
            self.say(f"the line of the log can't be built yet: {short(e)}")
            line = {}
        return {**line, LOCK: ("", self.lock)}

    def _push_last(self, turn: Turn, closing: Specs) -> None:
        """The push to the log repository, with the line of the log and the lock."""
        try:
            self.mirrors[self.home].push({**self.part(self.home).moving(), **closing}, turn)
        except GitFailed as e:
            if fence.took(e) or not (turn.has_come and (is_lasting(e) or impossible(e) == {self.log.ref})):
                raise
            self._push_moves(self.home)  # neither the log nor the lock stops a release
        else:
            if self.log.ref in closing:
                self.log.added()
            self.lock = ""

    def _restore_all(self) -> set[str]:
        """Look at every repository, and take back what landed there. Returns the repositories that were taken back now
        or earlier.
        """
        back: set[str] = set()
        settled: set[str] = set()
        hopeless: dict[str, GitFailed] = {}
        waiting = set(self.moves)
        for came in self._attempts():
            if came:
                break
            results = self.each(waiting, self._take_back)
            failed = failures(results)
            if any(map(fence.took, failed.values())):
                self.overtaken()
            back |= {name for name, result in results.items() if result is True}
            settled |= results.keys() - failed.keys()
            hopeless |= {name: e for name, e in failed.items() if isinstance(e, MovedOn) or is_lasting(e)}
            waiting = failed.keys() - hopeless.keys()
            if not waiting:
                break
        if waiting or hopeless:
            self._stuck(failed | hopeless, settled)
        return back

    def _take_back(self, name: str) -> bool:
        try:
            return self.part(name).take_back(self.landed.get(name))
        except GitFailed as e:
            if not is_remade(self, name, e):
                raise
        return self.part(name).take_back(None)

    def _stuck(self, failed: Mapping[str, GitFailed], settled: Collection[str]) -> None:
        """Say how many branches have moved and how many have not, each cause once, and what to do."""
        moved = [
            n for n, move in self.moves.items() if move.moves and n not in settled and self.landed.get(n) is not False
        ]
        names = f" ({', '.join(moved)})" if moved else ""
        where = f"{self.id} is half undone: {len(moved)} of {len(self.moves)} repositories may still be moved{names}"
        self._stop(where, failed, "then: gli promote --undo")

    def _only_home_is_missing(self, failed: Mapping[str, GitFailed]) -> bool:
        """Whether everything else has landed, and the log repository did not answer."""
        others = (name for name, move in self.moves.items() if move.moves and name != self.home)
        return failed.keys() == {self.home} and any(self.landed.get(name) for name in others)

    def _stop(self, where: str, failed: Mapping[str, GitFailed], then: str) -> NoReturn:
        """Say where the operation stands, each cause once with what it needs, and what to do."""
        reasons = by_cause(failed)
        self.journal.append("stuck", repositories=sorted(failed), reason="; ".join(reasons))
        raise Stuck(where, *reasons, then, code=3)

    def unlock(self) -> None:
        """Remove the lock ref if it is ours. If it can't be deleted, the next operation takes it over: the fence says
        that this operation has ended.
        """
        if self.lock:
            failed = failures(self.each([self.home], lambda name: self.mirrors[name].push({LOCK: ("", self.lock)})))
            if any("(stale info)" not in e.stderr for e in failed.values()):
                self.say(f"{LOCK} of {self.home} can't be deleted now; the next operation takes it over")

    def each(self, names: Iterable[str], work: Callable[[str], T]) -> dict[str, T | GitFailed]:
        """The result of `work` for each of these repositories, side by side."""
        wanted = set(names)
        chosen = [mirror.repository for name, mirror in self.mirrors.items() if name in wanted]
        chosen.sort(key=lambda repository: not repository.first)  # a push starts before the pushes that wait for it
        return each(chosen, lambda repository: work(repository.name), say=self.say)
