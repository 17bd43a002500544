"""A mirror that was damaged in the middle of an operation: power failed, or a disk was full.

The mirror is made again from its remote, which has all commits, landed or parked. Only the mirror had the next objects
of the fence, and the tag; they are made again, the fence on top of the one that the remote has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.git.command import GitFailed
from gli.release import fence
from gli.release.fence import STATES, Fence, Mark
from gli.release.refusals import is_lasting

if TYPE_CHECKING:
    from gli.release.engine import Operation


def is_remade(operation: Operation, name: str, error: GitFailed) -> bool:
    """Mends a mirror that is damaged or lacks objects of the fence. Returns whether the mirror was mended.

    Raises `GitFailed` if the remote can't be fetched.
    """
    ours_to_mend = "unpack" in error.stderr  # the host says "unpack" if the mirror did not send all objects
    if fence.took(error) or (is_lasting(error) and not ours_to_mend):
        return False
    mirror, known = operation.mirrors[name], operation.fences[name]
    if not mirror.made_again(error) and mirror.has(known):
        return False
    at = mirror.fetch().fence
    mark = Mark.of(mirror, at) if at else None
    if mark is not None and mark.id == operation.id:
        came = STATES.index(mark.state)
        made = Fence(*(*known[:came], at, *fence.following(mirror, mark, at)))
        if made != known:  # the fence of another person, or a signed one
            operation.fences[name] = made
            operation.journal.append("taking", repository=name, fence=made)
    _tag_again(operation, name)
    return True


def _tag_again(operation: Operation, name: str) -> None:
    """Make the tag again that the mirror has lost, with the message that it has where the operation landed."""
    mirror, lost = operation.mirrors[name], operation.tags.get(name)
    landed = [other for other in operation.tags if operation.landed.get(other)]
    if not lost or not landed or mirror.has([lost]):
        return
    source, ref = operation.mirrors[landed[0]], f"refs/tags/{operation.tag}"
    source.fetch()  # which also makes a damaged mirror again
    message = source.git("for-each-ref", "--format=%(contents:subject)%0a%0a%(contents:body)", ref)
    operation.tags[name] = mirror.make_tag(str(operation.tag), operation.moves[name].new, message)
    operation.journal.append("parked", tags=operation.tags)
