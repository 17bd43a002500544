"""Which operations have landed and still stand: a tag proves nothing alone.

A host that protects tags keeps the tag of an operation that was taken back. So a tag counts only if the live branch of
every repository contains what the tag's document says was moved there (or a reset has archived it), and if no commit
says that the operation was undone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from gli.git.command import GitFailed
from gli.git.refs import ARCHIVED
from gli.git.tags import is_emergency, on_hold, trailer
from gli.release.mirror import Mirror, Refs
from gli.release.side_by_side import answers, on_each

_UNDONE = re.compile(r"^Undo (\S+)$", re.MULTILINE)
Documents = Mapping[str, Mapping[str, Any]]
"""What tags say, by tag: see `gli.git.tags.trailer`."""


def said_by_tags(refs: Mapping[str, Refs]) -> dict[str, dict[str, Any]]:
    """The documents in the tags of operations, by tag, whether the operations landed or not. A tag counts if any
    repository has it.
    """
    found: dict[str, dict[str, Any]] = {}
    for of_one in refs.values():
        for tag, commit in of_one.tags.items():
            if tag not in found and (said := trailer(commit.message)):
                found[tag] = said
    return found


def landed(
    mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], documents: Documents
) -> dict[str, Mapping[str, Any]]:
    """The documents of operations that have landed in every repository and were not undone. Raises `Refused` if a
    mirror can't be read.
    """
    wanted = {tag: said for tag, said in documents.items() if said.get("moves")}
    if not wanted:
        return dict(documents)
    asked = [mirror for name, mirror in mirrors.items() if name in refs and mirror.branches.live in refs[name].branches]
    found = answers(on_each(asked, lambda mirror: _of_one(mirror, refs[mirror.name], wanted)))
    counts = {t for t in wanted if all(t in there for there, _ in found.values())}
    undone = {id_ for _, ids in found.values() for id_ in ids}
    return {t: s for t, s in documents.items() if t not in wanted or (t in counts and s.get("id") not in undone)}


def never_live(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], tag: str) -> list[str]:
    """The repositories whose live branch never had the commit of a tag, which each of them has."""

    def of_one(mirror: Mirror) -> bool:
        here = refs[mirror.name]
        return any(_contains(mirror, tip, here.tags[tag].id) for tip in _ways(mirror, here))

    return [name for name, was in answers(on_each(mirrors.values(), of_one)).items() if not was]


def hold(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], trees: str) -> str | None:
    """Like `gli.git.tags.on_hold`, but only for operations that have landed."""
    documents = said_by_tags(refs)
    if not any(said.get("held") == trees for said in documents.values()):
        return None
    about = {tag: said for tag, said in documents.items() if trees in (said.get("held"), said.get("trees"))}
    return on_hold(landed(mirrors, refs, about), trees)


def open_debts(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> list[str]:
    """Emergency pushes that an earlier branch still lacks, or that nobody has acknowledged, one sentence each."""
    acknowledged = {tag for r in refs.values() for tag in r.tags if tag.startswith("acknowledged-")}
    documents = {t: said for t, said in said_by_tags(refs).items() if is_emergency(t)}
    undone = documents.keys() - landed(mirrors, refs, documents).keys() if documents else set()
    debts = []
    for mirror in mirrors.values():
        tags = {t: c for t, c in refs[mirror.name].tags.items() if is_emergency(t) and t not in undone}
        here = refs[mirror.name].branches if tags else {}
        for branch in (b for b in mirror.branches.earlier if b in here):
            form, ref = "--format=%(refname:lstrip=2)", f"refs/heads/{branch}"
            lacking = mirror.git("for-each-ref", form, "--no-merged", ref, "refs/tags/emergency-*").split()
            back = mirror.branches.merge_back
            debts += [f"{mirror.name}: {branch} lacks {tag}; {back}" for tag in lacking if tag in tags]
        for tag, commit in tags.items():
            alone = not (trailer(commit.message) or {}).get("approved_by")
            if alone and tag.replace("emergency-", "acknowledged-", 1) not in acknowledged:
                push = f"gli push {mirror.branches.live} --acknowledge {tag}"
                debts.append(f"{mirror.name}: nobody else has acknowledged {tag}: {push}")
    return debts


def _of_one(mirror: Mirror, refs: Refs, documents: Documents) -> tuple[set[str], set[str]]:
    """The tags of operations that the live branch of one repository contains, and the ids of operations that were
    undone there.
    """
    ways = _ways(mirror, refs)
    merged: set[str] = set()
    for tip in ways:
        asked = ("for-each-ref", "--format=%(refname:lstrip=2)", f"--merged={tip}", "refs/tags")
        merged.update(mirror.git(*asked).split())
    there = {tag for tag, said in documents.items() if _holds(mirror, refs, said, tag, merged, ways)}
    messages = mirror.git("rev-list", "--no-commit-header", "--format=%s", "--grep=^Undo [0-9]", ways[0])
    return there, set(_UNDONE.findall(messages))


def _ways(mirror: Mirror, refs: Refs) -> tuple[str, ...]:
    """The tip of the live branch, and the commits that resets removed from it."""
    archived = mirror.git("for-each-ref", "--format=%(objectname)", ARCHIVED).split()
    return (refs.branches[mirror.branches.live].id, *archived)


def _holds(
    mirror: Mirror, refs: Refs, said: Mapping[str, Any], tag: str, merged: Collection[str], ways: Collection[str]
) -> bool:
    move = said["moves"].get(mirror.name)
    if move is None or move["old"] == move["new"]:
        return True
    if tag in merged and refs.tags[tag].id == move["new"]:
        return True
    return any(_contains(mirror, tip, move["new"]) for tip in ways)


def _contains(mirror: Mirror, holder: str, commit: str) -> bool:
    try:
        return mirror.contains(holder, commit)
    except GitFailed:  # the repository does not have the commit
        return False
