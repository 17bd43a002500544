"""Who is at work, and whether two names are one person. A person is `Name <e-mail>`, as git writes it."""

from __future__ import annotations

import re
import subprocess

from gli.common.errors import UsageError

_ASKED_S = 5.0
_PERSON = re.compile(r"(.+ <[^<>\s]+@[^<>\s]+>) \d+ ")


def identity() -> str:
    """Whoever git says is at work; raises `UsageError` where it knows nobody. Source of truth: git-var(1)."""
    command = ["git", "var", "GIT_COMMITTER_IDENT"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASKED_S, check=False)
    except FileNotFoundError:
        raise UsageError("git is not installed, or not on the PATH") from None
    except (OSError, subprocess.SubprocessError):
        done = None
    found = _PERSON.match(done.stdout.decode(errors="replace")) if done else None
    if found is None:
        raise UsageError("git does not know who you are; set user.name and user.email with git config")
    return found[1]


def mail(person: str) -> str:
    """The e-mail address of a person."""
    return person.rpartition("<")[2].rstrip(">")


def may_be_one(person: str, other: str) -> bool:
    """Whether two of `Name <e-mail>`, a name, an e-mail address may be the same person."""

    def parts(of: str) -> set[str]:
        name, _, address = of.lower().replace(">", "").partition("<")
        return {part.strip() for part in (name, address) if part.strip()}

    return bool(parts(person) & parts(other))
