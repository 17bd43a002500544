"""One repository's part in an operation: what is parked there, what moves it, whether that landed, and the way back.

A refused tag or branch is told by git; whether a push landed of which nobody saw the end, by what the remote has now.
Source of truth: git-push, git-ls-remote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gli.release import lock, plan
from gli.release.journal import Journal
from gli.release.mirror import QUIET_FETCH, Mirror, Specs
from gli.release.plan import Move
from gli.release.refusals import is_lasting
from gli.release.repositories import GitFailed, ls_remote

Remote = Mapping[str, str]
"""Ref to object of what a remote has of an operation."""


class MovedOn(GitFailed):
    """A branch that landed and that somebody else moved since."""


@dataclass(frozen=True)
class Part:
    """What an operation does to one repository."""

    mirror: Mirror
    move: Move
    journal: Journal
    say: Callable[[str], object]
    tag: str = ""
    """Empty where the repository gets none."""
    tag_object: str = ""
    """Empty until it is made."""
    lock: str = ""
    """The object of the operation's lock, which only the log repository has."""

    @property
    def name(self) -> str:
        return self.mirror.name

    @property
    def pushes(self) -> bool:
        """Whether anything is pushed to the repository at all."""
        return self.move.moves or bool(self.tag)

    @property
    def head(self) -> str:
        return f"refs/heads/{self.move.branch}"

    @property
    def parked(self) -> str:
        """The ref that holds the new commit before the branch moves."""
        return f"refs/promotions/{self.journal.id}/{self.move.branch}"

    @property
    def archive(self) -> str:
        """The ref that keeps what a reset takes off the branch."""
        return f"refs/archive/{self.journal.id}/{self.move.branch}"

    def parking(self) -> Specs:
        """What parks the new commit, and asks whether the branches are where they were."""
        move = self.move
        specs = {self.head: (move.old, move.old)}
        if move.guard:
            specs[f"refs/heads/{move.guard}"] = (move.source, move.source)
        if move.action == "reset":
            specs[self.archive] = (move.old, "")
        if self.pushes:
            specs[self.parked] = (move.new, "")
        return specs

    def moving(self) -> Specs:
        """What moves the repository, in one push: the branch, its tag, and away with what was parked."""
        if not self.pushes:
            return {}
        return {self.head: (self.move.new, self.move.old), self.parked: ("", self.move.new), **self._tagging()}

    def look(self) -> Remote:
        """What the remote has now; raises `GitFailed`."""
        refs = [self.head, self.parked, f"refs/tags/{self.tag}", lock.REF]
        return ls_remote(self.mirror.repository, refs, pass_fds=self.mirror.fds)

    def as_pushed(self) -> Remote:
        """What the remote has after the push, unless somebody else moved it."""
        return {self.head: self.move.new, **{ref: new for ref, (new, _) in self._tagging().items()}}

    def landed(self, remote: Remote) -> bool:
        """Whether the push landed, by what the remote has now; raises `GitFailed`."""
        move, head = self.move, remote.get(self.head, "")
        if self.parked in remote:
            return False
        if self.tag:
            return remote.get(f"refs/tags/{self.tag}") == self.tag_object
        if not move.moves:
            return remote.get(lock.REF) != self.lock
        if head in (move.old, move.new):
            return head == move.new
        self.mirror.git("fetch", *QUIET_FETCH, "--", self.mirror.repository.url, head)
        return self.mirror.contains(head, move.new)

    def stands(self, remote: Remote) -> bool:
        """Whether the push landed, and was not taken back since."""
        return self.landed(remote) and not self._is_back(remote)

    def withdraw(self) -> None:
        """Take away what was parked, whatever it is."""
        self.mirror.push({self.parked: ("", None)})

    def take_back(self, landed: bool | None) -> bool:
        """Whether it had landed and is taken back; `landed` is None where nobody knows. Raises `GitFailed`."""
        if not self.pushes:
            return False
        if landed is None:
            return self._withdrawn_or_back(self.look())
        if not landed:
            self.withdraw()
            return False
        try:
            return self._put_back(self.as_pushed())
        except GitFailed as e:
            if not is_lasting(e):
                raise
        return self._withdrawn_or_back(self.look())  # taken back already, or moved on

    def _withdrawn_or_back(self, remote: Remote) -> bool:
        if self.parked in remote:
            try:
                self.mirror.push({self.parked: ("", self.move.new)})
                return False
            except GitFailed as e:
                remote = self.look()
                if not is_lasting(e) or self.parked in remote:
                    raise
        if self._is_back(remote):
            return self.move.action != "reset"
        return self.landed(remote) and self._put_back(remote)

    def _is_back(self, remote: Remote) -> bool:
        """Whether the branch is at the commit that took it back: the journal said which before it was pushed."""
        said = [e.detail for e in self.journal.events if e.event == "restoring"]
        here = (self.name, remote.get(self.head))
        return any((detail["repository"], detail["restore"]) == here for detail in said)

    def _put_back(self, remote: Remote) -> bool:
        move, head = self.move, remote.get(self.head, "")
        if not move.moves or head == move.old:
            self._push_back({}, remote)
            return False
        if head != move.new:
            if not self._is_back_by_hand(head):
                raise MovedOn(("push",), 1, f"{move.branch} has been moved on since, to {head}")
            self._push_back({}, remote)
            return True
        back = plan.restore(self.mirror, move, self.journal.id)
        self.journal.append("restoring", repository=self.name, restore=back)
        self._push_back({self.head: (back, move.new)}, remote)
        self.journal.append("restored", repository=self.name)
        self.say(f"{self.name}: taken back")
        return True

    def _is_back_by_hand(self, head: str) -> bool:
        """Whether somebody has put a branch that moved back to the tree that it had."""
        if not head:
            return False
        self.mirror.git("fetch", *QUIET_FETCH, "--", self.mirror.repository.url, head)
        return self.mirror.commit(head).tree == self.move.old_tree

    def _push_back(self, specs: Specs, remote: Remote) -> None:
        """The push that takes back, and the tag with it where the remote lets tags be deleted."""
        ref = f"refs/tags/{self.tag}"
        untag: Specs = {ref: ("", self.tag_object)} if self.tag and remote.get(ref) == self.tag_object else {}
        if not (specs or untag):
            return
        try:
            self.mirror.push({**specs, **untag})
        except GitFailed as e:
            if not untag or not is_lasting(e):
                raise
            if specs:
                self.mirror.push(specs)
            self.say(f"{self.name}: the tag {self.tag} can't be deleted there and stays")

    def _tagging(self) -> dict[str, tuple[str, str | None]]:
        return {f"refs/tags/{self.tag}": (self.tag_object, "")} if self.tag else {}
