"""The reusable workflows that a deploy workflow calls, read from the commit or the branch that the call names.

Source of truth: git, at that commit; GitHub's "Reusing workflow configurations".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gli.common.sentences import phrase
from gli.git.command import GitFailed
from gli.observe.engine.observation import unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.bare_repository import temporary
from gli.observe.release.git_refs import TIMEOUT_S, heads
from gli.observe.release.workflow_calls import Call, Invalid, calls

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_FOLDER = ".github/workflows"
_CALLED = "called"


@probe(deadline=TIMEOUT_S)
async def workflow_files(observer: Observer, place: str) -> Mapping[str, str]:
    """Path to text of every workflow file at `REPOSITORY@REF`, from one fetch. The ref: a tag, a branch or a commit."""
    repository, _, ref = place.partition("@")
    environment = observer.environment
    assert environment.git is not None, "asked only of environments with a git table"
    known = await observer.see(heads, repository)
    if known.error is not None:
        raise unknown("dependency", phrase("the branches of {} could not be listed: {}", repository, known.error))
    name = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    commit = known.tags.get(name) or known.branches.get(name) or (ref if _COMMIT.fullmatch(ref) else None)
    if commit is None:
        raise unknown("dependency", phrase("{} has no branch, tag or commit {}", repository, ref))
    async with temporary(observer, environment.git.of(repository)) as bare:
        try:
            await bare.fetch({_CALLED: commit})
            files = {p: o for p, o in (await bare.files(_CALLED)).items() if p.rpartition("/")[0] == _FOLDER}
            if files:
                await bare.need(sorted(set(files.values())))
            texts = await bare.read(list(files.values()))
        except GitFailed as e:
            raise unknown(
                "error" if bare.fetched else "unreachable",
                phrase("{} can't be read from {}: {}", repository, bare.remote, e),
            ) from None
    return {path: texts[object_] or "" for path, object_ in files.items()}


async def called_workflows(observer: Observer, repository: str, commit: str, path: str, text: str) -> dict[Call, str]:
    """The text of every workflow that this one calls, and that those call.

    Raises `Unobserved` if one of them can't be read: nobody knows then what a push runs.
    """
    found: dict[Call, str] = {}
    waiting = [(Call(path), text)]
    while waiting:
        file, text = waiting.pop()
        try:
            wanted = calls(text, file)
        except Invalid:
            continue  # the reader of the workflow says so
        for call in wanted:
            if call is None or call in found:
                continue
            found[call] = await _text(observer, repository, commit, call)
            waiting.append((call, found[call]))
    return found


async def _text(observer: Observer, repository: str, commit: str, call: Call) -> str:
    github = observer.environment.github
    if call.repository and (github is None or call.owner.lower() != github.owner.lower()):
        raise unknown(
            "dependency",
            phrase("{} calls a workflow of {}/{}, which can't be read here", repository, call.owner, call.repository),
        )
    place = f"{call.repository or repository}@{call.ref or commit}"
    files = await observer.see(workflow_files, place)
    if call.path not in files:
        raise unknown(
            "dependency", phrase("{} calls {} of {}, and there is no such file", repository, call.path, place)
        )
    return files[call.path]
