"""One repository's part in an operation: its parked commit, the push that moves it, whether the push landed, and the
way back.

If the result of a push is not known, the fence tells whether it landed (see `gli.release.fence`).

Source of truth: git-push, git-ls-remote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from gli.git.command import GitFailed
from gli.git.refs import ARCHIVED, FENCE, LOCK, PARKED
from gli.release import fence, plan
from gli.release.fence import Fence
from gli.release.journal import Journal
from gli.release.mirror import Mirror, Specs
from gli.release.plan import Move
from gli.release.refusals import BY_HAND, HIDDEN, is_lasting, refused_refs
from gli.release.repositories import ls_remote

Remote = Mapping[str, str]
"""The refs of an operation that a remote has: ref to object."""


class MovedOn(GitFailed):
    """The push of a branch landed, and somebody else has moved the branch since."""


@dataclass(frozen=True)
class Part:
    """What an operation does to one repository."""

    mirror: Mirror
    move: Move
    journal: Journal
    say: Callable[[str], object]
    fence: Fence
    before: str = ""
    """The object of the fence when the operation was planned."""
    last: bool = False
    """Whether it is the log repository, which moves last and tells whether the operation is done."""
    tag: str = ""
    """The name of the tag; empty if the repository gets no tag."""
    tag_object: str = ""
    """The object of the tag; empty until the tag is made."""

    @property
    def name(self) -> str:
        return self.mirror.name

    @property
    def pushes(self) -> bool:
        """Whether a branch or a tag is pushed to the repository."""
        return self.move.moves or bool(self.tag)

    @property
    def lands(self) -> bool:
        """Whether the operation waits for this repository: not if the repository only gets the fence."""
        return self.pushes or self.last

    @property
    def head(self) -> str:
        return f"refs/heads/{self.move.branch}"

    @property
    def parked(self) -> str:
        """The ref that holds the new commit before the branch moves."""
        return f"{PARKED}{self.journal.id}/{self.move.branch}"

    @property
    def archive(self) -> str:
        """The ref that keeps the commits that a reset takes off the branch."""
        return f"{ARCHIVED}{self.journal.id}/{self.move.branch}"

    def parking(self) -> Specs:
        """The push that parks the new commit and takes the fence, if the branches are still where they were."""
        move = self.move
        specs = {self.head: (move.old, move.old)}
        if move.guard:
            specs[f"refs/heads/{move.guard}"] = (move.source, move.source)
        if move.action == "reset":
            specs[self.archive] = (move.old, "")
        if self.pushes:
            specs[self.parked] = (move.new, "")
        specs[FENCE] = (self.fence.parked if self.lands else self.fence.landed, self.before)
        return specs

    def moving(self, *, unpark: bool = True) -> Specs:
        """The one push that moves the repository: it moves the branch, adds the tag, moves the fence, and deletes the
        parked ref.
        """
        if not self.lands:
            return {}
        specs: dict[str, tuple[str, str | None]] = {FENCE: (self.fence.landed, self.fence.parked)}
        if self.pushes:
            specs = {self.head: (self.move.new, self.move.old), **specs, **self._tagging()}
            specs |= {self.parked: ("", self.move.new)} if unpark else {}
        return specs

    def look(self) -> Remote:
        """The refs that the remote has now. Raises `GitFailed`."""
        refs = [self.head, self.parked, f"refs/tags/{self.tag}", FENCE, LOCK]
        return ls_remote(self.mirror.repository, refs)

    def unpark(self) -> None:
        """Remove the parked ref without the fence, after the host refused the fence as a hidden ref: git applies the
        rest of such an atomic push.
        """
        with suppress(GitFailed):
            self.mirror.push({self.parked: ("", None)})

    def hides_fence(self) -> bool:
        """Whether the host does not list the fence that was just pushed; nobody else could see the operation. Looks
        only where no fence was seen before. Raises `GitFailed`.
        """
        return not self.before and FENCE not in ls_remote(self.mirror.repository, [FENCE])

    def as_pushed(self) -> Remote:
        """The refs that the remote has after the push, unless somebody else moved them."""
        tagged = {ref: new for ref, (new, _) in self._tagging().items()}
        return {self.head: self.move.new, FENCE: self.fence.landed, **tagged}

    def landed(self, remote: Remote) -> bool:
        """Whether the push landed and was not taken back, by the refs that the remote has now. Raises `GitFailed` if
        another operation has the fence.
        """
        at = remote.get(FENCE, "")
        if at not in self.fence:
            raise fence.taken()
        return at == self.fence.landed

    def withdraw(self, *, unpark: bool = True) -> None:
        """Remove what was parked and did not move. If the remote forbids the deletion of refs, the parked ref stays.

        Where the repository only got the fence, the fence is taken back too: it would else say that the operation is
        under way where the log repository knows nothing of it.
        """
        if not self.lands:
            self.mirror.push({FENCE: (self.fence.undone, self.fence.landed)})
            return
        closing: Specs = {FENCE: (self.fence.undone, self.fence.parked)}
        unpark = unpark and self.pushes
        try:
            self.mirror.push({**closing, **({self.parked: ("", self.move.new)} if unpark else {})})
        except GitFailed as e:
            if not unpark or self.parked not in refused_refs(e):
                raise
            self.mirror.push(closing)
            if HIDDEN in e.stderr:
                return
            self.say(f"{self.name}: {self.parked} can't be deleted there and stays; it moves nothing")

    def take_back(self, landed: bool | None) -> bool:
        """Whether the push had landed and is taken back now. `landed` is None: unknown. Raises `GitFailed`."""
        if not self.lands:
            return False
        try:
            if landed:
                return self._put_back(self.as_pushed())
            if landed is False:
                self.withdraw()
                return False
        except GitFailed as e:
            if not is_lasting(e):
                raise
        remote = self.look()  # withdrawn or taken back already, moved on, or its result is not known
        if remote.get(FENCE) == self.fence.undone:
            return self._was_taken_back()
        if self.landed(remote):
            return self._put_back(remote)
        self.withdraw(unpark=self.parked in remote)
        return False

    def _was_taken_back(self) -> bool:
        """Whether the journal says that the branch had moved and was taken back."""
        return any(e.event == "restoring" and e.detail["repository"] == self.name for e in self.journal.events)

    def _put_back(self, remote: Remote) -> bool:
        move, head = self.move, remote.get(self.head, "")
        if not move.moves or head == move.old:
            self._push_back({}, remote)
            return False
        if head != move.new:
            if not self._is_back_by_hand(head):
                needs = f"it has to get the files of {move.old[:8]} back, in a commit on top"
                raise MovedOn((BY_HAND,), 1, f"{move.branch} has been moved on since, to {head[:8]}; {needs}")
            self._push_back({}, remote)
            return True
        back = plan.restore(self.mirror, move, self.journal.id)
        self.journal.append("restoring", repository=self.name, restore=back)
        self._push_back({self.head: (back, move.new)}, remote)
        self.journal.append("restored", repository=self.name)
        self.say(f"{self.name}: taken back")
        return True

    def _is_back_by_hand(self, head: str) -> bool:
        """Whether a person has put a moved branch back to the tree that it had before."""
        if not head:
            return False
        self.mirror.bring(head)
        return self.mirror.commit(head).tree == self.move.old_tree

    def _push_back(self, specs: Specs, remote: Remote) -> None:
        """The push that takes the move back, and the tag with it if the remote allows the deletion of tags."""
        ref = f"refs/tags/{self.tag}"
        untag: Specs = {ref: ("", self.tag_object)} if self.tag and remote.get(ref) == self.tag_object else {}
        specs = {**specs, FENCE: (self.fence.undone, self.fence.landed)}
        try:
            self.mirror.push({**specs, **untag})
        except GitFailed as e:
            if not untag or not is_lasting(e) or fence.took(e):
                raise
            self.mirror.push(specs)
            self.say(f"{self.name}: the tag {self.tag} can't be deleted there and stays; it counts for nothing")

    def _tagging(self) -> dict[str, tuple[str, str | None]]:
        return {f"refs/tags/{self.tag}": (self.tag_object, "")} if self.tag else {}
