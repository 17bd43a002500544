"""The person at work, and whether two names are one person. A person is written `Name <e-mail>`, as git does."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple

from gli.common.errors import UsageError
from gli.git.command import environment, git

_ASKED_S = 5.0
_BROKEN = re.compile(r"^fatal: (?P<why>bad config .*)$", re.MULTILINE)
_PERSON = re.compile(r"(.+ <[^<>\s]+@[^<>\s]+>) \d+ ")


def identity() -> str:
    """The person that git's settings name. Raises `UsageError` if they name nobody. Source of truth: git-var(1)."""
    command = ["git", "var", "GIT_COMMITTER_IDENT"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASKED_S, check=False, env=environment())
    except FileNotFoundError:
        raise UsageError("git is not installed, or not on the PATH") from None
    except (OSError, subprocess.SubprocessError):
        done = None
    if done and (broken := _BROKEN.search(done.stderr.decode(errors="replace"))):
        raise UsageError(f"git can't read its settings: {broken['why']}; mend that file")
    found = _PERSON.match(done.stdout.decode(errors="replace")) if done else None
    if found is None:
        raise UsageError("git does not know who you are; set user.name and user.email with git config")
    return found[1]


class Signing(NamedTuple):
    """What git's own settings want to have signed. git itself knows the key and its format (openpgp, ssh)."""

    commits: bool
    tags: bool


UNSIGNED = Signing(commits=False, tags=False)


def signing() -> Signing:
    """`commit.gpgSign`, and `tag.gpgSign` or `tag.forceSignAnnotated`. Source of truth: git-config(1)."""
    asked = r"^(commit\.gpgsign|tag\.gpgsign|tag\.forcesignannotated)$"
    answer = git("config", "--type=bool", "--get-regexp", asked, accept=(0, 1))
    said = dict(line.split(" ", 1) for line in answer.splitlines())
    tags = said.get("tag.gpgsign", said.get("tag.forcesignannotated", "false"))
    return Signing(said.get("commit.gpgsign") == "true", tags == "true")


def mail(person: str) -> str:
    """The e-mail address of a person."""
    return person.rpartition("<")[2].rstrip(">")


def may_be_one(person: str, other: str) -> bool:
    """Whether two of these (`Name <e-mail>`, a name, an e-mail address) may be the same person."""

    def parts(of: str) -> set[str]:
        name, _, address = of.lower().replace(">", "").partition("<")
        return {part.strip() for part in (name, address) if part.strip()}

    return bool(parts(person) & parts(other))
