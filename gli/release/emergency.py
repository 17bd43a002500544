"""Emergency push: commits from people's own clones go straight to the staged or the live branch, without the gate. They
are never marked as verified.

On the live branch the push creates a tag `emergency-…` and a debt: normal promotions are refused until the live branch
is merged back into the others, and a second person has acknowledged the push.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from gli.common.clock import now, rfc3339
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.git import identity, partial_repository, submodules
from gli.git.command import GitFailed, git, without_secrets
from gli.git.effective import Commit, answered
from gli.git.tags import is_emergency
from gli.release import landed, plan
from gli.release.engine import Operation
from gli.release.mirror import Mirror, Refs
from gli.release.plan import Move, Refused
from gli.release.promote import summary
from gli.release.session import Approve, Planned, Request, Session
from gli.release.side_by_side import answers, collected, on_each

_POINTS = "version https://git-lfs.github.com/spec/"
_POINTER = 1024
"""The largest size of a pointer of git-lfs, in bytes (git-lfs' specification)."""


def push(
    session: Session, branch: str, *, reason: str, approve: Approve, frozen: str | None = None, dry_run: bool = False
) -> Operation:
    """Push the commits that the clones have on `branch` and the remotes lack: in every repository or in none.

    `frozen` is the freeze window that is open now: it does not stop an emergency push, and it is recorded. Raises
    `UsageError` for another branch or without a reason, `Refused` with every objection.
    """
    branches = session.settings.branches
    if branch not in branches.pushed:
        raise UsageError(f"only {' and '.join(branches.pushed)} are pushed to directly, not {branch!r}")
    plan.because(reason, 'an emergency push needs its reason: -m "Why it can not wait"')
    live = branch == branches.live
    kind = "emergency" if live else "push"
    with session.operation(kind=kind, source="clones", branch=branch, reason=reason, dry_run=dry_run) as operation:
        refs = session.fetch(operation)
        found = answers(on_each(operation.mirrors.values(), lambda m: _move(m, refs[m.name], branch)))
        against = [e for e in found.values() if isinstance(e, Refused)]
        if against:
            raise collected(against)
        moves = {name: move for name, move in found.items() if isinstance(move, Move)}
        if not any(move.moves for move in moves.values()):
            raise Refused(f"no clone has a commit on {branch} that its remote lacks; commit first, then push")
        manifest = manifest_id({n: m.new for n, m in moves.items()})
        planned: dict[str, Any] = {"manifest": manifest, "trees": manifest_id({n: m.tree for n, m in moves.items()})}
        if frozen:
            planned["override_freeze"] = {"window": frozen, "reason": reason}
        title = f"clones to {branch}, not verified: {reason}"
        lines = summary(operation, moves)
        request = Request(plan.approval_id(moves), title, lines, live, session.actor, "later" if live else "")
        tag = session.tag_name("emergency", operation, refs) if live else None

        def upload() -> None:
            moving = (operation.mirrors[name] for name, move in moves.items() if move.moves)
            answers(on_each(moving, lambda m: _lfs(m, branch, moves[m.name].old, moves[m.name].new)))

        whole = Planned(moves, planned, request, tag, tag_all=False, before_moving=upload)
        session.carry_out(operation, refs, whole, approve, dry_run=dry_run)
        return operation


def acknowledge(session: Session, tag: str) -> str:
    """Record that a second person has seen an emergency push; returns the tag that says so.

    Raises `Refused` for an unknown tag, for one's own push, and for a push that is acknowledged already.
    """
    live = session.settings.branches.live
    with session.operation(kind="acknowledgement", source=tag, branch=live) as operation:
        refs = session.fetch(operation)
        if not is_emergency(tag) or not any(tag in found.tags for found in refs.values()):
            raise Refused(f"no repository has an emergency {tag}; gli doctor lists them")
        said = landed.said_by_tags(refs).get(tag, {})
        if identity.may_be_one(str(said.get("actor", "")), session.actor):
            raise Refused(f"{tag} was pushed by {session.actor}; somebody else has to acknowledge it")
        made = tag.replace("emergency-", "acknowledged-", 1)
        mirror = operation.mirrors[operation.home]
        if made in refs[mirror.name].tags:
            raise Refused(f"{tag} is acknowledged")
        document = {"kind": "acknowledgement", "of": tag, "actor": session.actor, "at": rfc3339(now())}
        head = plan.tip(mirror, refs[mirror.name], live).id
        object_ = mirror.make_tag(made, head, f"Acknowledged {tag}\n\n{json.dumps(document, ensure_ascii=False)}\n")
        mirror.push({f"refs/tags/{made}": (object_, "")})
        operation.journal.append("done", tag=made)
        return made


def _move(mirror: Mirror, refs: Refs, branch: str) -> Move | Refused:
    """The commits that the clone's branch adds to the remote's branch."""
    clone = mirror.repository.clone
    try:
        theirs = plan.tip(mirror, refs, branch)
        if not clone.exists():
            return _as_it_is(branch, theirs)
        if not clone.is_dir():
            raise Refused(f"{mirror.name}: {clone} is no folder, so nobody knows what it should push")
        head = git("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", cwd=clone, accept=(0, 1)).strip()
        _all_committed(mirror, clone, branch)
        if head in ("", theirs.id):
            return _as_it_is(branch, theirs)
        mirror.bring(head, source=str(clone))
        if mirror.contains(theirs.id, head):
            return _as_it_is(branch, theirs)
        if not mirror.contains(head, theirs.id):
            raise Refused(f"{mirror.name}: the clone's {branch} lacks what the remote has; merge that first")
        if mirror.holds_archived(head, theirs.id):
            raise Refused(
                f"{mirror.name}: the clone's {branch} still has what a reset took off the remote's; put your commits "
                f"on top of origin/{branch} first"
            )
        new = mirror.commit(head)
        _submodules(mirror, branch, theirs.id, head)
    except Refused as e:
        return e
    return Move("push", branch, theirs.id, new.id, new.tree, theirs.tree, new.id)


def _lfs(mirror: Mirror, branch: str, theirs: str, head: str) -> None:
    """Push the files of git-lfs that the new commits point to, as the clone's own hook would do.

    Raises `Refused` if that fails: nobody can check out a branch whose files the host lacks.
    """
    listing = mirror.git("rev-list", "--objects", "--no-object-names", head, f"^{theirs}")
    sizes = mirror.git("cat-file", "--batch-check=%(objecttype) %(objectsize) %(objectname)", says=listing)
    small = [line.split() for line in sizes.splitlines()]
    blobs = [name for kind, size, name in small if kind == "blob" and int(size) <= _POINTER]
    if not any(mirror.git("cat-file", "blob", name).startswith(_POINTS) for name in blobs):
        return
    try:
        git("lfs", "push", "origin", branch, cwd=mirror.repository.clone)
    except GitFailed as e:
        raise Refused(
            f"{mirror.name}: {branch} points to files of git-lfs that could not be pushed: {e}; install git-lfs here, "
            f"or let the host take such files; then git lfs push origin {branch} in {mirror.repository.clone}"
        ) from None


def _submodules(mirror: Mirror, branch: str, theirs: str, head: str) -> None:
    """Raises `Refused` if the new head names a commit of a submodule that the submodule's remote lacks or can't be
    asked for: nobody could check the branch out.
    """
    new = _links(mirror, head).items() - _links(mirror, theirs).items()
    if not new:
        return
    named = submodules.FILE in mirror.files(head)
    text = mirror.git("cat-file", "blob", f"{head}:{submodules.FILE}") if named else ""
    urls = submodules.addresses(text, mirror.repository.url)
    lost = []
    for path, commit in sorted(new):
        url = urls.get(path, "")
        if not submodules.can_be_asked(url, mirror.repository.url):
            raise Refused(
                f"{mirror.name}: the submodule {path} has no address that can be asked: {without_secrets(url)!r}"
            )
        try:
            lost += [] if _is_published(mirror, url, commit) else [f"{path} at {commit[:12]}"]
        except GitFailed as e:
            raise Refused(f"{mirror.name}: the submodule {path} can't be asked: {e}", code=3) from None
    if lost:
        raise Refused(
            f"{mirror.name}: {branch} names commits that no remote of the submodule has ({', '.join(lost)}); push "
            "them from the submodule first"
        )


def _links(mirror: Mirror, commit: str) -> dict[str, str]:
    """The path of each submodule to the commit that it is at."""
    entries = (entry.partition("\t") for entry in mirror.git("ls-tree", "-r", "-z", commit).split("\0"))
    return {path: about.split()[2] for about, _, path in entries if about.startswith(submodules.LINK)}


def _is_published(mirror: Mirror, url: str, commit: str) -> bool:
    shared = mirror.repository.connections

    def asked() -> bool:
        with tempfile.TemporaryDirectory(prefix="gli-git-") as folder:
            partial_repository.create(Path(folder), url, [commit])
            answer = partial(git, git_dir=Path(folder), env=shared.environment, interruptible=True)
            return answered(submodules.published(commit), answer)

    return shared.reading(asked)


def _all_committed(mirror: Mirror, clone: Path, branch: str) -> None:
    """Raises `Refused` if a work tree of the clone has the branch checked out with changes that the push would leave
    out, or is in the middle of a rebase of the branch.
    """
    for part in git("worktree", "list", "--porcelain", cwd=clone).split("\n\n"):
        lines = part.splitlines()
        tree = Path(lines[0].removeprefix("worktree ")) if lines else None
        if tree is None or not tree.is_dir():
            continue
        if _is_rebased(tree, branch):
            raise Refused(f"{mirror.name}: a rebase of {branch} is under way in {tree}; end it first")
        if f"branch refs/heads/{branch}" in lines:
            asked = ("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
            changed = git(*asked, cwd=tree).splitlines()
            if changed:
                files = "1 changed file is" if len(changed) == 1 else f"{len(changed)} changed files are"
                raise Refused(f"{mirror.name}: {files} not committed on {branch}; commit first")


def _is_rebased(tree: Path, branch: str) -> bool:
    paths = ("rebase-merge/head-name", "rebase-apply/head-name")
    listing = git("rev-parse", *(part for path in paths for part in ("--git-path", path)), cwd=tree)
    return any(
        (tree / path).is_file() and (tree / path).read_text().strip() == f"refs/heads/{branch}"
        for path in listing.splitlines()
    )


def _as_it_is(branch: str, tip: Commit) -> Move:
    return Move("noop", branch, tip.id, tip.id, tip.tree, tip.tree, tip.id)
