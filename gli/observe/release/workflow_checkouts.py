"""Finds what the jobs of a workflow build instead of the commit that was pushed.

Pure functions. Source of truth: the README of actions/checkout (`ref`, `repository`, `path`), git-checkout, git-switch,
git-reset, git-pull and git-merge; GitHub's "Contexts reference" for `env` and `vars`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_CHECKOUT = re.compile(r"actions/checkout(@|$)", re.IGNORECASE)
_STORED = re.compile(r"\$\{\{\s*(vars|secrets)\.[\w-]+\s*\}\}", re.IGNORECASE)
"""A setting of the repository or of the GitHub environment: its value is the same for every push."""
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_SEPARATOR = re.compile(r"&&|\|\||;|\||\n")
_FILE = re.compile(r"(.*/)?[\w.-]*\.[A-Za-z]\w*|\.|.*/|.*[*?].*")
"""A word that names files: `package-lock.json`, `.`, `src/`, `*.po`."""
_OF_THE_PUSH = ("", "HEAD", "@", "FETCH_HEAD", "-")
_LONGEST = 8_000  # shlex takes the square of a word's length
_OF_GIT_ALONE = ("git", "gh", "echo", "printf", "cd", "set", "exit", "true")
_WITH_A_VALUE = frozenset({"-C", "-c", "--git-dir", "--work-tree"})
_NEW_BRANCH = frozenset({"-b", "-B", "-c", "-C", "--orphan", "--create"})

Resolve = Callable[[str], str]
"""Gives a text with every expression replaced whose value is known."""


def builds(steps: Sequence[Mapping[str, Any]], env: Mapping[str, Any], branch: str, resolve: Resolve) -> Iterator[str]:
    """The refs that the steps of one job check out instead of the pushed commit, by actions/checkout or by git.

    `env` has the variables of the workflow and the job. Left out: another repository, a folder of its own, a commit
    that only GitHub knows, and commands of git behind which the job runs nothing else (a merge back, a tag).
    """
    for n, step in enumerate(steps):
        own = {str(k): resolve(str(v)) for k, v in {**env, **_table(step.get("env"))}.items()}
        if _CHECKOUT.match(str(step.get("uses", ""))):
            yield from _by_action(_table(step.get("with")), own, branch, resolve)
        elif isinstance(step.get("run"), str) and not step.get("working-directory"):
            later = any("uses" in s or not _is_git_alone(str(s.get("run", ""))) for s in steps[n + 1 :])
            yield from _by_git(resolve(step["run"]), own, branch, later)


def _by_action(given: Mapping[str, Any], env: Mapping[str, str], branch: str, resolve: Resolve) -> Iterator[str]:
    def of_env(match: re.Match[str]) -> str:
        return env.get(match[1], match[0])

    ref = re.sub(r"\$\{\{\s*env\.(\w+)\s*\}\}", of_env, resolve(str(given.get("ref") or "")))
    repository = str(given.get("repository") or "").replace(" ", "")
    if given.get("path") or repository not in ("", "${{github.repository}}"):
        return
    only_github_knows = "${{" in ref and "default_branch" not in ref and not _STORED.fullmatch(ref.strip())
    if not only_github_knows and not _is_of_the_push(ref, branch):
        yield ref


def _by_git(script: str, env: Mapping[str, str], branch: str, later: bool) -> Iterator[str]:
    """`later`: the job runs something else behind this script."""
    script = _STORED.sub(lambda m: m[0].replace(" ", ""), script)
    commands = [" ".join(c.split()) for c in _SEPARATOR.split(script.replace("\\\n", " "))]
    fetched = "FETCH_HEAD"
    for n, command in enumerate(commands):
        if re.match(r"(cd|pushd)\s", command):  # another folder from here on
            return
        if taken := re.match(r"git fetch (?:-\S+ )*[\w./:@-]+ ([^\s:]+)", command):
            fetched = taken[1]
        ref = _ref(command)
        if ref is None:
            continue
        ref = fetched if ref == "FETCH_HEAD" else ref
        ref = _VARIABLE.sub(lambda m: _value(m[1] or m[2], env, branch) or m[0], ref)
        used = later or any(not _is_git_alone(c) for c in commands[n + 1 :])
        known = _STORED.fullmatch(ref) or not re.search(r"[$`]", ref)
        if used and known and not _is_of_the_push(ref, branch):
            yield ref


def _value(name: str, env: Mapping[str, str], branch: str) -> str | None:
    own = {"GITHUB_REF_NAME": branch, "GITHUB_REF": f"refs/heads/{branch}", **env}.get(name)
    return own if own is None or "${{" not in own or _STORED.fullmatch(own) else None


def _ref(command: str) -> str | None:
    """The ref whose files a git command puts into the working tree; None if it does no such thing."""
    if "git" not in command[:_LONGEST]:
        return None
    try:
        words = shlex.split(command[:_LONGEST], comments=True)
    except ValueError:
        return None
    while words and re.fullmatch(r"\w+=.*|sudo|then|do|else|if|\{|!", words[0]):
        words = words[1:]
    if len(words) < 2 or words[0] != "git" or words[1] in _WITH_A_VALUE:
        return None
    does, rest = words[1], words[2:]
    named = [w for w in rest if not w.startswith("-")]
    if does in ("checkout", "switch"):
        if "--" in rest or _NEW_BRANCH.intersection(rest):
            named = named[1:] if _NEW_BRANCH.intersection(rest) else []
        return named[0] if len(named) == 1 and not (does == "checkout" and _FILE.fullmatch(named[0])) else None
    if does == "reset" and "--hard" in rest:
        return named[0] if named else None
    if does == "pull" and len(named) == 2:
        return named[1]
    if does in ("merge", "rebase") and len(named) == 1:
        return named[0]
    return None


def _is_git_alone(script: str) -> bool:
    """Whether a script does nothing but talk to git and to its log."""
    commands = [c.split() for c in _SEPARATOR.split(script)]
    return all(words[0].startswith("#") or words[0] in _OF_GIT_ALONE for words in commands if words)


def _is_of_the_push(ref: str, branch: str) -> bool:
    bare = ref.removeprefix("refs/heads/").removeprefix("refs/remotes/").removeprefix("origin/")
    return bare in (*_OF_THE_PUSH, branch)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
