"""`gli doctor`: what is not in order in the eight repositories, each with its mend. It looks, and moves nothing.

A tip of main is explained by a tag of an operation, by the tree that an operation put back, or by a journal of this
machine; any other one was pushed past the gate. Source of truth: git's refs and tags, the journals, and for what
protects the branches GitHub's "Get rules for a branch" (REST API, repos/rules).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import httpx

from gli.common.clock import is_time
from gli.common.errors import UsageError
from gli.config.environments import Github
from gli.git.branches import BRANCHES, LIVE, STAGED
from gli.git.trailers import RESTORES
from gli.release import journal as journals
from gli.release import lock, log, plan
from gli.release.mirror import Mirror, Refs
from gli.release.plan import MERGE_BACK
from gli.release.repositories import GitFailed, Repository, each, git
from gli.release.session import half_finished, on_each
from gli.release.settings import Settings
from gli.release.statuses import CONTEXT

UNSURE = 3
_ANSWER_S = 10.0
_RULES = {LIVE: {"deletion", "non_fast_forward", "required_status_checks"}, STAGED: {"deletion", "non_fast_forward"}}
"""What a branch has to be protected by: types of rules, as GitHub names them."""
_MEANS = {
    "deletion": "being deleted",
    "non_fast_forward": "being rewritten",
    "required_status_checks": "pushes without a verdict",
}


@dataclass(frozen=True)
class Finding:
    """What is not in order."""

    text: str
    mend: str
    code: int = 1
    """1 for what is wrong, 3 for what could not be found out."""


@dataclass(frozen=True)
class Patient:
    """What is looked at."""

    settings: Settings
    github: Github | None
    mirrors: Mapping[str, Mirror]
    """By the name of the repository."""
    log: log.Branch
    say: Callable[[str], object]
    """Hears for whom is waited long."""


def findings(patient: Patient) -> Iterator[Finding]:
    """Everything that is not in order, the most urgent first."""
    yield from _journals(patient.settings.state)
    fetched = on_each(patient.mirrors.values(), Mirror.fetch, say=patient.say)
    for name, result in fetched.items():
        if isinstance(result, GitFailed):
            yield Finding(f"{name} can't be fetched: {result}", "see that its remote can be reached", UNSURE)
    refs = {name: result for name, result in fetched.items() if isinstance(result, Refs)}
    mirrors = {name: patient.mirrors[name] for name in refs}
    known = _commits_of(patient.settings.state)
    for name, mirror in mirrors.items():
        yield from _tip(mirror, refs[name], known, patient.settings.deploy_tag)
    for name, found in refs.items():
        for branch in (b for b in BRANCHES if b not in found.branches and b != LIVE):
            yield Finding(f"{name} has no branch {branch}", "find out who deleted it, and push it again")
    holder = _holder(patient, mirrors, refs)
    yield from _lock(patient, refs, holder)
    unended = _unended(patient, holder)
    yield from _parked(mirrors, refs, unended)
    yield from _tags(patient, mirrors, refs, unended)
    for debt in plan.open_debts(mirrors, refs):
        text, _, mend = debt.partition("; ") if "; " in debt else debt.partition(": gli ")
        yield Finding(text, mend if "; " in debt else f"gli {mend}")
    yield from _log(patient)
    yield from _rules(patient)
    yield from _clones(mirrors, refs)


def exit_code(found: Sequence[Finding]) -> int:
    """0 where nothing was found, 1 where something is wrong, 3 where something could only not be found out."""
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
    live = refs.branches.get(LIVE)
    if live is None:
        yield Finding(f"{mirror.name} has no branch {LIVE}", "find out who deleted it, and push it again")
    elif not _explained(mirror, live.id, refs, known, form):
        yield Finding(
            f"{mirror.name}: {LIVE} is at {live.short}, which no tag and no journal knows",
            f"find out who pushed it; {MERGE_BACK}, or gli rollback",
        )


def _explained(mirror: Mirror, commit: str, refs: Refs, known: set[str], form: str) -> bool:
    """Whether an operation put a commit on main."""
    if commit in known or any(commit == found.id for tag, found in refs.tags.items() if _of_operation(tag, form)):
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


def _of_operation(tag: str, form: str) -> bool:
    return log.is_release(tag) or is_time(tag, form)


def _lock(patient: Patient, refs: Mapping[str, Refs], holder: lock.Holder | None) -> Iterator[Finding]:
    """What another machine has under way, or has left."""
    home = patient.settings.log_repository
    if home not in refs or refs[home].lock is None:
        return
    if holder is None:
        yield Finding(f"{lock.REF} of {home} names no holder", "find out whose it is, then delete it")
    elif not journals.of(patient.settings.state, holder.id).exists():
        yield Finding(
            f"{holder} is releasing {holder.id}, or left it half-finished",
            f"wait until {holder.until}; if it has not ended by then, gli promote --resume or --undo on {holder.host}",
        )


def _holder(patient: Patient, mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> lock.Holder | None:
    home = patient.settings.log_repository
    object_ = refs[home].lock if home in refs else None
    return lock.Holder.of(mirrors[home], object_) if object_ else None


def _unended(patient: Patient, holder: lock.Holder | None) -> set[str]:
    """The ids of operations that are not over: what they have parked and tagged may still come, or go."""
    left = half_finished(patient.settings.state)
    return {left.stem if left else "", holder.id if holder else ""}


def _parked(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], unended: Container[str]) -> Iterator[Finding]:
    """What operations that are over have left parked; it moves nothing."""
    for name, found in refs.items():
        for ref in (ref for ref in found.parked if ref.split("/")[2] not in unended):
            yield Finding(f"{name} still has {ref}, of an operation that is over", _push(mirrors[name], f":{ref}"))


def _tags(
    patient: Patient, mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], unended: Container[str]
) -> Iterator[Finding]:
    """Tags of operations that some repositories lack, or have elsewhere."""
    form, said_by = patient.settings.deploy_tag, plan.said_by_tags(refs)
    every = {tag for found in refs.values() for tag in found.tags if _of_operation(tag, form)}
    for number, tag in enumerate(sorted(every, key=lambda tag: tag.partition("-")[2], reverse=True)):
        holders = {name: found.tags[tag] for name, found in refs.items() if tag in found.tags}
        said = said_by.get(tag, {})
        if said.get("id") in unended:
            continue
        if not said and number:  # made by hand, long ago: perhaps before there was such a repository
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
    """The command that makes a tag in one repository as another one has it, with all that it says."""
    read = f"git --git-dir={quote(str(holder.folder))} cat-file tag {tag}"
    made = f"{read} | sed '1s/.*/object {commit}/' | git --git-dir={quote(str(mirror.folder))} mktag"
    return _push(mirror, f'"$({made})":refs/tags/{tag}')


def _push(mirror: Mirror, refspec: str) -> str:
    return f"git --git-dir={quote(str(mirror.folder))} push --no-verify {quote(mirror.repository.url)} {refspec}"


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
    """What GitHub does not protect the branches from."""
    if patient.github is None:
        return
    with httpx.Client(headers=_headers(patient.github), timeout=_ANSWER_S) as client:
        asked = {n: _asked(client, patient.github, mirror.repository) for n, mirror in patient.mirrors.items()}
    for name, answer in asked.items():
        if isinstance(answer, str):
            yield Finding(f"{name}: its branch rules can't be read: {answer}", _token(patient.github), UNSURE)
            continue
        for branch, types in answer.items():
            open_to = [means for rule, means in _MEANS.items() if rule in _RULES[branch] - types]
            if open_to:
                text = f"{name}: nothing protects {branch} from {' and '.join(open_to)}"
                yield Finding(
                    text,
                    f"add these rules to a ruleset for {branch}: {', '.join(sorted(_RULES[branch] - types))}"
                    + (f" ({CONTEXT})" if "required_status_checks" in _RULES[branch] - types else ""),
                )


def _asked(client: httpx.Client, github: Github, repository: Repository) -> dict[str, set[str]] | str:
    """The types of the rules of each branch; why they are not known."""
    types = {}
    for branch in _RULES:
        url = f"{github.api_url}/repos/{github.owner}/{repository.name}/rules/branches/{branch}"
        try:
            answer = client.get(url, params={"per_page": 100})
            rules: Any = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError) as e:
            return type(e).__name__
        if not isinstance(rules, list):
            return f"GitHub answered {answer.status_code}"
        types[branch] = {str(rule.get("type")) for rule in rules if isinstance(rule, dict) and _protects(rule)}
    return types


def _protects(rule: Mapping[str, Any]) -> bool:
    """Whether a rule does what its type promises: one about statuses has to demand the verdict's."""
    if rule.get("type") != "required_status_checks":
        return True
    demanded = (rule.get("parameters") or {}).get("required_status_checks", [])
    return any(check.get("context") == CONTEXT for check in demanded)


def _headers(github: Github) -> dict[str, str]:
    token = os.environ.get(github.token_variable or "", "")
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})


def _token(github: Github) -> str:
    return (
        f"set {github.token_variable} to a token that may read the repositories"
        if github.token_variable
        else "try later"
    )


def _clones(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> Iterator[Finding]:
    """People's clones on this machine whose branches are behind their remotes."""
    there = [mirror.repository for mirror in mirrors.values() if (mirror.repository.clone / ".git").exists()]
    behind: dict[str, list[str]] = {}
    for name, heads in each(there, _heads).items():
        if isinstance(heads, GitFailed):
            yield Finding(f"the clone of {name} can't be read: {heads}", f"look at {mirrors[name].repository.clone}")
            continue
        for branch in BRANCHES:
            tip, ours = refs[name].branches.get(branch), heads.get(f"refs/heads/{branch}")
            if tip is not None and ours is not None and ours != tip.id and _is_behind(mirrors[name], ours, tip.id):
                behind.setdefault(branch, []).append(name)
    for branch, names in behind.items():
        yield Finding(f"the clones of {', '.join(names)} are behind on {branch}", f"gli pull {branch}")


def _heads(repository: Repository) -> dict[str, str]:
    listing = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", cwd=repository.clone)
    return dict(line.split(" ") for line in listing.splitlines())


def _is_behind(mirror: Mirror, ours: str, theirs: str) -> bool:
    try:
        return mirror.contains(theirs, ours)
    except GitFailed:  # a commit that only the clone has
        return False


def _commits_of(state: Path) -> set[str]:
    """Every commit that an operation of this machine brought to a branch."""
    found = set()
    for path in journals.paths(state):
        try:
            events = journals.read(path)
        except UsageError:
            continue
        pushed = {e.detail["repository"] for e in events if e.event == "pushed"}
        moves = (journals.last(events, "planned") or {}).get("moves", {})
        found |= {move["new"] for name, move in moves.items() if name in pushed}
        found |= {e.detail["restore"] for e in events if e.event == "restoring"}
    return found
