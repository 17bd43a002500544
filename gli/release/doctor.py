"""`gli doctor`: the problems of the eight repositories, each with its fix. It only reads.

A tip of main is explained by the tag of an operation, by a tree that an operation restored, or by a journal of this
machine. Any other tip was pushed without the gate.

Source of truth: git's refs and tags, and the journals; for the protection of branches `gli.release.branch_protection`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from gli.common.errors import UsageError
from gli.common.github import CONTEXT
from gli.config.parts import Github
from gli.git.command import GitFailed, git, without_secrets
from gli.git.refs import FENCE, LOCK, lines
from gli.git.tags import is_of_operation
from gli.git.trailers import RESTORES
from gli.release import fence, landed, lock, log
from gli.release import journal as journals
from gli.release.branch_protection import demanded, protections
from gli.release.fence import Mark
from gli.release.mirror import Mirror, Refs
from gli.release.repositories import Repository, each
from gli.release.session import half_finished
from gli.release.settings import Settings
from gli.release.side_by_side import on_each

UNSURE = 3
_MEANS = {
    "deletion": "being deleted",
    "non_fast_forward": "being rewritten",
    "required_status_checks": "pushes without a verdict",
}


@dataclass(frozen=True)
class Finding:
    """One problem."""

    text: str
    mend: str
    code: int = 1
    """1: something is wrong. 3: the state could not be read."""


@dataclass(frozen=True)
class Patient:
    """The repositories that are examined."""

    settings: Settings
    github: Github | None
    mirrors: Mapping[str, Mirror]
    """Name of the repository to its mirror."""
    log: log.Branch
    say: Callable[[str], object]
    """Called with the names of remotes whose answer takes long."""


def findings(patient: Patient) -> Iterator[Finding]:
    """Every problem, the most urgent first."""
    yield from _journals(patient.settings.state)
    fetched = on_each(patient.mirrors.values(), Mirror.fetch, say=patient.say)
    for name, result in fetched.items():
        if isinstance(result, GitFailed):
            yield Finding(f"{name} can't be fetched: {result}", _fetchable(patient.settings.state, result), UNSURE)
    refs = {name: result for name, result in fetched.items() if isinstance(result, Refs)}
    mirrors = {name: patient.mirrors[name] for name in refs}
    known = _commits_of(patient.settings.state)
    for name, mirror in mirrors.items():
        yield from _tip(mirror, refs[name], known, patient.settings.deploy_tag)
    for name, found in refs.items():
        for branch in (b for b in patient.settings.branches.earlier if b not in found.branches):
            yield Finding(f"{name} has no branch {branch}", "find out who deleted it, and push it again")
    holder, marks = _holder(patient, mirrors, refs), _marks(mirrors, refs)
    yield from _under_way(patient, refs, holder, marks)
    busy = fence.under_way(marks, patient.settings.log_repository)
    unended = _unended(patient, holder, busy)
    if busy is None and half_finished(patient.settings.state) is None:
        yield from _one_release(mirrors, refs, patient.settings.deploy_tag)
        yield from _put_back(mirrors, refs, marks)
    yield from _parked(mirrors, refs, unended)
    yield from _tags(patient, mirrors, refs, unended)
    for debt in landed.open_debts(mirrors, refs):
        text, _, mend = debt.partition("; ") if "; " in debt else debt.partition(": gli ")
        yield Finding(text, mend if "; " in debt else f"gli {mend}")
    yield from _log(patient)
    yield from _rules(patient)
    yield from _clones(mirrors, refs)


_FULL = ("No space left on device", "Disk quota exceeded", "Read-only file system")


def _fetchable(state: Path, error: GitFailed) -> str:
    """What to do about a failed fetch. If the fault is in our own folder, git's message names a file of the folder, or
    says that its disk is full: what the host says has `remote:` before it.
    """
    ours = [line for line in error.stderr.splitlines() if not line.startswith("remote:")]
    here = str(state) in error.stderr or any(full in line for line in ours for full in _FULL)
    if "bad config " in error.stderr:
        return "mend that file of git's settings"
    return f"make room in {state}, or let this user write there" if here else "see that its remote can be reached"


def exit_code(found: Sequence[Finding]) -> int:
    """0 without findings, 1 if something is wrong, 3 if the only findings are states that could not be read."""
    return min((finding.code for finding in found), default=0)


def _journals(state: Path) -> Iterator[Finding]:
    for path in journals.paths(state):
        try:
            journals.read(path)
        except UsageError as e:
            yield Finding(f"the journal {path.stem} was changed", str(e))
    left = half_finished(state)
    if left is not None:
        yield Finding(f"{left.stem} was left half-finished", "gli promote --resume, or gli promote --undo")


def _tip(mirror: Mirror, refs: Refs, known: set[str], form: str) -> Iterator[Finding]:
    branches = mirror.branches
    live = refs.branches.get(branches.live)
    if live is None:
        yield Finding(f"{mirror.name} has no branch {branches.live}", "find out who deleted it, and push it again")
    elif not _explained(mirror, live.id, refs, known, form):
        yield Finding(
            f"{mirror.name}: {branches.live} is at {live.short}, which no tag and no journal knows",
            f"find out who pushed it; {', or '.join(filter(None, [branches.merge_back, 'gli rollback']))}",
        )


def _explained(mirror: Mirror, commit: str, refs: Refs, known: set[str], form: str) -> bool:
    """Whether an operation put the commit on main."""
    if commit in known or any(commit == found.id for tag, found in refs.tags.items() if is_of_operation(tag, form)):
        return True
    whole = mirror.commit(commit)
    restored = RESTORES.search(whole.message)
    if restored is None:
        return False
    try:
        earlier = mirror.commit(restored["commit"])
    except GitFailed:
        return False
    return earlier.tree == whole.tree and _explained(mirror, earlier.id, refs, known, form)


def _under_way(
    patient: Patient, refs: Mapping[str, Refs], holder: lock.Holder | None, marks: Mapping[str, Mark | None]
) -> Iterator[Finding]:
    """The operation that another machine has begun or left unfinished, and what each machine must do."""
    home = patient.settings.log_repository
    if home not in refs:
        return
    for name, found in refs.items():
        if found.fence and marks[name] is None:
            yield Finding(f"{FENCE} of {name} names no operation", "find out whose it is, then delete it")
    if refs[home].lock is not None and holder is None:
        yield Finding(f"{LOCK} of {home} names no holder", "find out whose it is, then delete it")
    busy = fence.under_way(marks, home)
    if holder is not None and marks[home] is None:
        id_, who, host = holder.id, str(holder), holder.host
    elif busy is not None:
        id_, who, host = busy.id, f"{busy.actor} on {busy.host} (since {busy.since})", busy.host
    else:
        return
    if _is_known(journals.of(patient.settings.state, id_)):
        return
    moved = [name for name, mark in marks.items() if mark is not None and mark.id == id_ and mark.has_moved]
    so_far = f"it has moved {len(moved)} of {len(refs)} repositories" if moved else "it has moved nothing"
    yield Finding(
        f"{who} is releasing {id_}, or left it half-finished: {so_far}" + (f" ({', '.join(moved)})" if moved else ""),
        f"wait until it has ended; if nobody is at work, {_ending(id_, host, patient.settings.state)}",
    )


def _is_known(path: Path) -> bool:
    """Whether this machine can tell how far an operation came, by its journal."""
    try:
        return path.exists() and not journals.is_overtaken(journals.read(path))
    except UsageError:  # somebody changed the journal: another finding says so
        return True


def _ending(id_: str, host: str, state: Path) -> str:
    """How to end the operation, on the machine that began it or on this one."""
    if host != os.uname().nodename:
        return (
            f"gli promote --resume or --undo on {host}; if that machine is gone, gli promote --take-over {id_} on "
            "this one"
        )
    return (
        f"gli promote --resume or --undo on this machine in the state folder where it was begun, which is not {state}; "
        f"if that folder is lost, gli promote --take-over {id_}"
    )


def _marks(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> dict[str, Mark | None]:
    return {n: Mark.of(mirrors[n], found.fence) if found.fence else None for n, found in refs.items()}


def _one_release(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], form: str) -> Iterator[Finding]:
    """Whether the live branches of all repositories stand at one release, compared by content."""
    said_by = landed.said_by_tags(refs)
    stands: dict[str, set[str]] = {}
    for name, found in refs.items():
        live = found.branches.get(mirrors[name].branches.live)
        tags = {tag for tag in found.tags if is_of_operation(tag, form)} | said_by.keys()
        at = {tag for tag in tags if live is not None and _tree(said_by.get(tag), found, name, tag) == live.tree}
        if at:
            stands[name] = at
    if not stands or set.intersection(*stands.values()):
        return
    newest = {name: max(tags, key=lambda tag: tag.partition("-")[2]) for name, tags in stands.items()}
    places: dict[str, list[str]] = {}
    for name, tag in newest.items():
        places.setdefault(tag, []).append(name)
    where = "; ".join(f"{', '.join(names)} at {tag}" for tag, names in sorted(places.items(), key=lambda p: len(p[1])))
    yield Finding(
        f"{next(iter(mirrors.values())).branches.live} is not at one release: {where}",
        "find out who moved it; then gli rollback to a release that all have, or push the commit of the release again",
    )


def _put_back(
    mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], marks: Mapping[str, Mark | None]
) -> Iterator[Finding]:
    """The repositories whose branch lost the commit of the last operation, if other repositories kept theirs."""
    has: list[tuple[str, Mark]] = []
    lacks: list[tuple[str, Mark]] = []
    for name, mark in marks.items():
        if mark is None or not mark.has_moved or mark.move["branch"] not in mirrors[name].branches.earlier:
            continue
        tip = refs[name].branches.get(mark.move["branch"])
        if tip is not None:
            (has if _is_behind(mirrors[name], mark.move["new"], tip.id) else lacks).append((name, mark))
    if has:
        for name, mark in (found for found in lacks if found[1].id in {mark.id for _, mark in has}):
            branch, new = mark.move["branch"], mark.move["new"][:8]
            yield Finding(
                f"{name}: {branch} has lost {new}, which {mark.id} brought; others still have theirs",
                f"find out who moved it; then push {new} to it again, or promote to {branch} again",
            )


def _tree(said: Mapping[str, Any] | None, refs: Refs, name: str, tag: str) -> str | None:
    """The content that a release has in one repository."""
    move = (said or {}).get("moves", {}).get(name)
    if move is not None:
        return str(move["tree"])
    return refs.tags[tag].tree if tag in refs.tags else None


def _holder(patient: Patient, mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> lock.Holder | None:
    home = patient.settings.log_repository
    object_ = refs[home].lock if home in refs else None
    return lock.Holder.of(mirrors[home], object_) if object_ else None


def _unended(patient: Patient, holder: lock.Holder | None, busy: Mark | None) -> set[str]:
    """The ids of operations that have not ended: their parked refs and tags may still be used or removed."""
    left = half_finished(patient.settings.state)
    return {id_ for id_ in (left and left.stem, busy and busy.id, holder and holder.id) if id_}


def _parked(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], unended: Container[str]) -> Iterator[Finding]:
    """The parked refs that ended operations left behind. They move no branch."""
    for name, found in refs.items():
        for ref in (ref for ref in found.parked if ref.split("/")[2] not in unended):
            yield Finding(f"{name} still has {ref}, of an operation that is over", _push(mirrors[name], f":{ref}"))


def _tags(
    patient: Patient, mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], unended: Container[str]
) -> Iterator[Finding]:
    """Tags of operations that are missing in some repositories, or stand at another commit there."""
    form, said_by = patient.settings.deploy_tag, landed.said_by_tags(refs)
    counted = landed.landed(mirrors, refs, said_by)
    every = {tag for found in refs.values() for tag in found.tags if is_of_operation(tag, form)}
    for number, tag in enumerate(sorted(every, key=lambda tag: tag.partition("-")[2], reverse=True)):
        holders = {name: found.tags[tag] for name, found in refs.items() if tag in found.tags}
        said = said_by.get(tag, {})
        if said.get("id") in unended or (said and tag not in counted):
            continue
        if not said and number:  # made by hand long ago, perhaps before this repository existed
            continue
        meant = {name: move["new"] for name, move in said.get("moves", {}).items() if name in refs}
        only_moved = said.get("kind") == "emergency"
        for name in refs:
            move = said.get("moves", {}).get(name, {})
            if name not in holders and not (only_moved and move.get("old") == move.get("new")):
                there = next(iter(holders))
                mend = _made_again(mirrors[name], mirrors[there], tag, meant[name]) if name in meant else ""
                yield Finding(f"{name} lacks the tag {tag}", mend or f"tag the commit of {tag} there")
            elif name in holders and meant.get(name, holders[name].id) != holders[name].id:
                text = f"{name}: {tag} is at {holders[name].short}, and was made at {meant[name][:8]}"
                yield Finding(text, f"find out who moved it, and put it back to {meant[name]}")


def _made_again(mirror: Mirror, holder: Mirror, tag: str, commit: str) -> str:
    """The command that creates a tag in one repository as another repository has it, with the whole message."""
    read = f"git --git-dir={quote(str(holder.folder))} cat-file tag {tag}"
    made = f"{read} | sed '1s/.*/object {commit}/' | git --git-dir={quote(str(mirror.folder))} mktag"
    return _push(mirror, f'"$({made})":refs/tags/{tag}')


def _push(mirror: Mirror, refspec: str) -> str:
    address = quote(without_secrets(mirror.repository.url))
    return f"git --git-dir={quote(str(mirror.folder))} push --no-verify {address} {refspec}"


def _log(patient: Patient) -> Iterator[Finding]:
    try:
        lacking = patient.log.lacks(patient.log.look())
    except GitFailed as e:
        home = patient.log.mirror.name
        yield Finding(f"the deployment log in {home} can't be read: {e}", "see that its remote answers", UNSURE)
        return
    if lacking:
        lines = "1 line" if len(lacking) == 1 else f"{len(lacking)} lines"
        yield Finding(f"{lines} of this machine's operations are not in the deployment log", "gli log --publish")


def _rules(patient: Patient) -> Iterator[Finding]:
    """The missing protections of branches on GitHub."""
    if patient.github is None:
        return
    github = patient.github
    asked = {n: protections(github, mirror.repository) for n, mirror in patient.mirrors.items()}
    for name, answer in asked.items():
        if isinstance(answer, str):
            yield Finding(f"{name}: its branch rules can't be read: {answer}", _token(patient.github), UNSURE)
            continue
        for branch, types in answer.items():
            lacking = demanded(patient.settings.branches)[branch] - types
            open_to = [means for rule, means in _MEANS.items() if rule in lacking]
            if open_to:
                text = f"{name}: nothing protects {branch} from {' and '.join(open_to)}"
                yield Finding(
                    text,
                    f"add these rules to a ruleset for {branch}: {', '.join(sorted(lacking))}"
                    + (f" ({CONTEXT})" if "required_status_checks" in lacking else ""),
                )


def _token(github: Github) -> str:
    return (
        f"set {github.token_variable} to a token that may read the repositories"
        if github.token_variable
        else "try later"
    )


def _clones(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> Iterator[Finding]:
    """Clones of people on this machine whose branches are behind their remotes."""
    there = [mirror.repository for mirror in mirrors.values() if (mirror.repository.clone / ".git").exists()]
    behind: dict[str, list[str]] = {}
    for name, heads in each(there, _heads).items():
        if isinstance(heads, GitFailed):
            yield Finding(f"the clone of {name} can't be read: {heads}", f"look at {mirrors[name].repository.clone}")
            continue
        for branch in mirrors[name].branches.names:
            tip, ours = refs[name].branches.get(branch), heads.get(f"refs/heads/{branch}")
            if tip is not None and ours is not None and ours != tip.id and _is_behind(mirrors[name], ours, tip.id):
                behind.setdefault(branch, []).append(name)
    for branch, names in behind.items():
        yield Finding(f"the clones of {', '.join(names)} are behind on {branch}", f"gli pull {branch}")


def _heads(repository: Repository) -> dict[str, str]:
    listing = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", cwd=repository.clone)
    return dict(line.split(" ") for line in lines(listing))


def _is_behind(mirror: Mirror, ours: str, theirs: str) -> bool:
    try:
        return mirror.contains(theirs, ours)
    except GitFailed:  # only the clone has this commit
        return False


def _commits_of(state: Path) -> set[str]:
    """Every commit that an operation of this machine put on a branch, without those that it took back."""
    found = set()
    for path in journals.paths(state):
        try:
            events = journals.read(path)
        except UsageError:
            continue
        stands = bool(events) and (events[-1].event == "done" or not journals.is_final(events))
        pushed = {e.detail["repository"] for e in events if e.event == "pushed" and stands}
        moves = (journals.last(events, "planned") or {}).get("moves", {})
        found |= {move["new"] for name, move in moves.items() if name in pushed}
        found |= {e.detail["restore"] for e in events if e.event == "restoring"}
    return found
