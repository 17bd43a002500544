"""The submodules that a commit names: where each comes from, and whether its remote has the commit.

The check `git-submodules-published` and an emergency push judge this by the same function.

Source of truth: gitmodules(5) for the file and for relative addresses, git-config(1) for its syntax; git-fetch(1) of
one commit, gitprotocol-v2(5) and gitprotocol-pack(5) for what a host answers where it lacks the commit.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from gli.git.command import GitFailed
from gli.git.effective import Asked
from gli.git.partial_repository import ONLY_OBJECTS

FILE = ".gitmodules"
LINK = "160000"
"""The mode of a tree's entry that names a commit of a submodule."""
_ASKED, _LOCAL = ("https://", "ssh://", "git@", "http://"), ("file://", "/")
_LACKS = ("not our ref", "couldn't find remote ref", "no such remote ref")
_UNNAMED = "unadvertised object"
"""git's error before it asks: protocol 0, which OpenSSH's server speaks by default, gives only what a ref names."""
_SECTION = re.compile(r'\[submodule\s+"(.*)"\]')
_VALUE = re.compile(r'(\w+)\s*=\s*"?([^"#;]*?)"?\s*')


def addresses(text: str, remote: str) -> dict[str, str]:
    """The path of each submodule to its address, from a .gitmodules; `remote` is the repository's own address."""
    sections: list[dict[str, str]] = []
    for line in map(str.strip, text.splitlines()):
        if _SECTION.fullmatch(line):
            sections.append({})
        elif sections and (value := _VALUE.fullmatch(line)):
            sections[-1][value[1].lower()] = value[2]
    return {s["path"]: _absolute(s["url"], remote) for s in sections if {"path", "url"} <= s.keys()}


def can_be_asked(url: str, remote: str) -> bool:
    """Whether the address of a submodule is of a kind that is asked. Only a repository of this machine (by its
    `remote`) may name a repository of this machine.
    """
    return url.startswith((*_ASKED, *(_LOCAL if remote.startswith(_LOCAL) else ())))


def published(commit: str) -> Generator[Asked, str, bool]:
    """Whether the remote `origin` of an empty repository has this commit. The repository is one of
    `gli.git.partial_repository`, which answers each question. Raises `GitFailed` if the remote can't be asked.
    """
    try:
        yield ("fetch", *ONLY_OBJECTS, "--depth=1", "--filter=tree:0", "origin", commit)
    except GitFailed as e:
        if _UNNAMED not in e.stderr.lower():
            if any(said in e.stderr.lower() for said in _LACKS):
                return False
            raise
    else:
        return True
    yield (
        "fetch",
        *ONLY_OBJECTS,
        "--filter=tree:0",
        "origin",
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
    )
    return commit in (yield ("rev-list", "--all")).split()


def _absolute(url: str, remote: str) -> str:
    base, is_relative = remote.rstrip("/"), url.startswith(("./", "../"))
    while url.startswith(("./", "../")):
        step, _, url = url.partition("/")
        base = base[: max(base.rfind("/"), base.rfind(":"))] if step == ".." else base
    return f"{base}{':' if remote[len(base) :].startswith(':') else '/'}{url}" if is_relative else url
