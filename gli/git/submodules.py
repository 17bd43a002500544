"""The submodules that a commit names: where each comes from.

Source of truth: gitmodules(5) for the file and for relative addresses, git-config(1) for its syntax.
"""

from __future__ import annotations

import re

FILE = ".gitmodules"
LINK = "160000"
"""The mode of a tree's entry that names a commit of a submodule."""
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


def _absolute(url: str, remote: str) -> str:
    base, is_relative = remote.rstrip("/"), url.startswith(("./", "../"))
    while url.startswith(("./", "../")):
        step, _, url = url.partition("/")
        base = base[: max(base.rfind("/"), base.rfind(":"))] if step == ".." else base
    return f"{base}{':' if remote[len(base) :].startswith(':') else '/'}{url}" if is_relative else url
