"""The rules for values of environments.toml that become a ref, a file or an argument of git.

Each function returns the value that it was given, or raises `ValueError` with the rule. No models here: a command that
needs a few keys starts at once.

Source of truth: git-check-ref-format, gitcli(7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_WORD = r"\w[\w.-]*"
_TAG = re.compile(r"(?!rollback-|reset-|emergency-|acknowledged-)\w[\w.]*-%Y%m%d-%H%M%S")
_BRANCH = re.compile(rf"(?!.*\.\.)(?!.*\.lock(/|$)){_WORD}(/{_WORD})*(?<!\.)")
_PATH = re.compile(rf"(?!.*\.\.){_WORD}(/{_WORD})*")


def repository(name: str) -> str:
    """The name of a repository. It is also the name of a folder."""
    if not re.fullmatch(_WORD, name):
        raise ValueError("a name of letters, digits, '_', '.' and '-'")
    return name


def remote(address: str) -> str:
    """The address under which the repositories live, each under its own name."""
    if "{repository}" not in address or address.startswith("-"):
        raise ValueError("an address with {repository} in it, as in git@github.com:gli/{repository}.git")
    return address


def deploy_tag(form: str) -> str:
    """The format of a deploy tag. Its names must sort by time, differ from second to second, and look like no other
    operation's tags.
    """
    if not _TAG.fullmatch(form):
        raise ValueError("a word of its own and the moment, as in deploy-%Y%m%d-%H%M%S")
    return form


def log_branch(name: str) -> str:
    """The branch of the deployment log."""
    if not _BRANCH.fullmatch(name):
        raise ValueError("a branch of its own, as in deployments")
    return name


def apart(log_branch: str, names: Sequence[str]) -> None:
    """Raises `ValueError` if the branch of the deployment log is one that a release moves through."""
    if log_branch in names:
        raise ValueError(f"a branch of its own, as in deployments, and none of {', '.join(names)}")


def branches(names: Any) -> tuple[str, ...]:
    """The branches that a release moves through, the live one last."""
    texts = isinstance(names, list | tuple) and all(isinstance(n, str) and _BRANCH.fullmatch(n) for n in names)
    if not texts or not names or len({*names}) < len(names):
        raise ValueError("the names of one or more branches, each once, from the first to the live one")
    return tuple(names)


def log_path(path: str) -> str:
    """The file of the deployment log on its branch."""
    if not _PATH.fullmatch(path):
        raise ValueError("the path of a file in a repository, as in deployment.log")
    return path


def folder(path: str) -> str:
    """A folder, relative to environments.toml."""
    if not path or "\0" in path:
        raise ValueError("a folder, relative to environments.toml")
    return path


def timezone(name: str) -> str:
    """A time zone."""
    if name == "UTC":
        return name
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only another zone needs its tables

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("a name of the IANA time zone database, as in Asia/Seoul") from None
    return name


TABLE: Mapping[str, Callable[[str], str]] = {
    "remote": remote,
    "workspace": folder,
    "state": folder,
    "deploy_tag": deploy_tag,
    "timezone": timezone,
    "log_repository": repository,
    "log_branch": log_branch,
    "log_path": log_path,
}
"""The texts of a `git` table."""


def all_different(names: list[Any]) -> None:
    """Raises `ValueError` if two repositories have the same name: one of them would be left out in silence."""
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"[[repositories]] names {', '.join(twice)} more than once; each is one repository")
