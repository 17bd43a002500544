"""The answers of git to a push that failed: whether another attempt may help, and the reason in one line.

Source of truth: git-push, "OUTPUT" (`! [remote rejected] FROM -> TO (REASON)`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from gli.git.command import GitFailed
from gli.git.connections import LACKING

T = TypeVar("T")
_MAY_PASS: tuple[str, ...] = (
    "atomic push fail",
    "transaction failed",
    "failed to update ref",
    "cannot lock",
    "failed to lock",
)
HIDDEN = "hidden ref)"
"""git's reason for a ref that the host hides: `deny updating a hidden ref`, `deny deleting a hidden ref`."""
_WORDS = 300
BY_HAND = "by hand"
"""Stands in place of git's command in an error that only a person can mend. The error says how."""
_IN_THE_WAY = re.compile(r"cannot lock ref '([^']+)': '[^']+' exists; cannot create")
_HELD = re.compile(r"cannot lock ref '(?:refs/heads/)?(?P<ref>[^']+)'")
_REFUSAL = re.compile(r"! \[(?:remote )?rejected\] +(?:.* -> )?(?P<ref>\S+) \((?P<why>.*)\)")


def is_lasting(error: GitFailed) -> bool:
    """Whether another attempt is useless: a hook, a rule or a lease refused the push, or its host lacks something."""
    refusals = [line.lower() for line in error.stderr.splitlines() if "rejected]" in line and "!" in line]
    lasting = any(not any(passing in line for passing in _MAY_PASS) for line in refusals)
    return lasting or LACKING in error.stderr


def short(error: GitFailed) -> str:
    """The reason in one line, with what the remote said about it."""
    lines = [line.strip() for line in error.stderr.splitlines()]
    found = [_REFUSAL.search(line) for line in lines if "atomic push fail" not in line]
    refusals = sorted(filter(None, found), key=lambda refusal: refusal["ref"].startswith("refs/"))  # a branch first
    if not refusals:
        return str(error)
    words = " ".join(said.removeprefix("remote:").strip() for said in lines if said.startswith("remote:"))
    why = f"{refusals[0]['why']}: {words[:_WORDS]}" if words else refusals[0]["why"]
    held = _HELD.search(error.stderr) if "transaction failed" in why else None  # one ref fails all of an atomic push
    return f"{held['ref'] if held else refusals[0]['ref']} was refused ({why})"


def impossible(error: GitFailed) -> set[str]:
    """The refs of a push that can't be created, because another ref is in their way (`a` if `a/b` exists)."""
    return set(_IN_THE_WAY.findall(error.stderr))


def refused_refs(error: GitFailed) -> set[str]:
    """The refs that were refused themselves, not only because the push is atomic."""
    found = (_REFUSAL.search(line.strip()) for line in error.stderr.splitlines() if "atomic push fail" not in line)
    return {refusal["ref"] for refusal in found if refusal}


def hidden_refs(error: GitFailed) -> str:
    """The namespaces (`refs/gli/`) of a push that the host hides from clients; empty if it hides none of them.

    Source of truth: git-config(1), transfer.hideRefs.
    """
    found = (_REFUSAL.search(line.strip()) for line in error.stderr.splitlines() if HIDDEN in line)
    return ", ".join(sorted({"/".join(refusal["ref"].split("/")[:2]) + "/" for refusal in found if refusal}))


def sentences(failed: Mapping[str, GitFailed]) -> list[str]:
    """`NAME: WHY` of each repository."""
    return [f"{name}: {short(error)}" for name, error in failed.items()]


def by_cause(failed: Mapping[str, GitFailed]) -> list[str]:
    """`NAME, NAME: WHY; WHAT IT NEEDS`, each reason once."""
    causes: dict[str, list[str]] = {}
    for name, error in failed.items():
        why = short(error)
        needs = "its host has to accept that" if is_lasting(error) else "it has to answer"
        causes.setdefault(why if error.command == (BY_HAND,) else f"{why}; {needs}", []).append(name)
    return [f"{', '.join(names)}: {why}" for why, names in causes.items()]


def failures(results: Mapping[str, T | GitFailed]) -> dict[str, GitFailed]:
    """The repositories in which git failed."""
    return {name: result for name, result in results.items() if isinstance(result, GitFailed)}


def exit_code(errors: Iterable[GitFailed]) -> int:
    """1 if a remote refused, 3 if a remote could not be asked."""
    return 1 if all("rejected]" in e.stderr or e.code == 130 for e in errors) else 3
