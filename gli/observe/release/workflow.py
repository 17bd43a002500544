"""A GitHub Actions workflow, read as far as a release depends on it: what starts it, its steps, where it deploys to.

Pure: text in, model out. `${{ }}` expressions are worked out for one branch at a time, as far as they speak of the
branch; what only GitHub knows (secrets, variables, inputs) stays as it is written. Source of truth: GitHub's "Workflow
syntax" and "Evaluate expressions". YAML 1.1 reads the key `on` as true.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from gli.observe.engine.observation import Observation

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_KEYS = frozenset({"aws-access-key-id", "aws-secret-access-key"})
_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|(&&|\|\||==|!=|!|\(|\))|([\w.-]+))")


class Target(Observation):
    """Where a push of one branch goes."""

    branch: str
    environments: tuple[str, ...]
    """The GitHub environments of the jobs that run for it."""
    foreign: tuple[str, ...]
    """The names in it that belong to another branch's environment."""


class Workflow(Observation):
    """One workflow file."""

    path: str
    error: str | None = None
    """Why it can't be read."""
    pushes: tuple[str, ...] = ()
    """The branches, of those that were asked about, whose push starts it."""
    steps: tuple[str, ...] = ()
    """Name, `uses`, `with` and `run` of every step, in lower case, in the file's order."""
    targets: tuple[Target, ...] = ()
    serial: bool = False
    """A deploy waits for the one before it, and is not cut off by the next."""
    assumes_role: bool = False
    """A job may ask for the token that AWS takes for a role (`id-token: write`)."""
    static_keys: tuple[str, ...] = ()
    """The names under which it is given AWS keys that are stored somewhere, sorted."""
    waits: bool = False
    """It waits until ECS has replaced the tasks."""

    def first(self, words: Collection[str], start: int = 0) -> int | None:
        """The first step from `start` on that has one of the words."""
        wanted = [w.lower() for w in words]
        return next((i for i in range(start, len(self.steps)) if any(w in self.steps[i] for w in wanted)), None)


def read(path: str, text: str | None, foreign: Mapping[str, Collection[str]]) -> Workflow:
    """The workflow in a file; `foreign` says, for each branch, the names that its push may not touch."""
    import yaml

    if text is None:
        return Workflow(path=path, error="there is no such file")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as e:
        return Workflow(path=path, error=f"it is not valid YAML: {' '.join(str(e).split())[:120]}")
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), dict):
        return Workflow(path=path, error="it has no jobs")
    jobs = [job for job in document["jobs"].values() if isinstance(job, dict)]
    return Workflow(
        path=path,
        pushes=tuple(b for b in foreign if _starts(document.get("on", document.get(True)), b)),
        steps=tuple(" ".join(_texts(step)).lower() for job in jobs for step in _steps(job)),
        targets=tuple(_target(document, jobs, branch, names) for branch, names in foreign.items()),
        serial=_queues(document.get("concurrency")) or all(_queues(job.get("concurrency")) for job in jobs),
        assumes_role=any(_may_ask_for_a_token(job.get("permissions", document.get("permissions"))) for job in jobs),
        static_keys=tuple(sorted({key for key, value in _pairs(document) if _is_stored_key(key, value)})),
        waits=any(_is_waiting(key, value) for job in jobs for key, value in _pairs(job)),
    )


def _queues(concurrency: Any) -> bool:
    """Whether runs of a group wait for each other: `cancel-in-progress` would leave a deploy half done."""
    if isinstance(concurrency, dict):
        return bool(concurrency.get("group")) and concurrency.get("cancel-in-progress") is not True
    return bool(concurrency)


def _may_ask_for_a_token(permissions: Any) -> bool:
    return permissions == "write-all" or (isinstance(permissions, dict) and permissions.get("id-token") == "write")


def _is_stored_key(key: str, value: str) -> bool:
    """Half of a pair of AWS keys; one that an earlier step asked for is not stored."""
    return key.lower().replace("_", "-") in _KEYS and not re.search(r"\b(steps|needs)\.", value)


def _is_waiting(key: str, value: str) -> bool:
    return "services-stable" in value or (key == "wait-for-service-stability" and value.lower() == "true")


def _pairs(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every value in a part of the document as text, with the key that it stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _pairs(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner, key)
    elif value is not None:
        yield key, str(value)


def _starts(on: Any, branch: str) -> bool:
    """Whether a push of the branch starts it."""
    if isinstance(on, str | list):
        return "push" in ([on] if isinstance(on, str) else on)
    if not isinstance(on, dict) or "push" not in on:
        return False
    push = on["push"] or {}
    if "branches" in push:
        return any(fnmatchcase(branch, str(pattern)) for pattern in push["branches"] or ())
    if "branches-ignore" in push:
        return not any(fnmatchcase(branch, str(pattern)) for pattern in push["branches-ignore"] or ())
    return "tags" not in push and "tags-ignore" not in push


def _steps(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of a job; a job that calls another workflow is one step."""
    steps = job.get("steps", [job] if "uses" in job else [])
    return [s for s in steps if isinstance(s, dict)] if isinstance(steps, list) else []


def _target(
    document: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], branch: str, names: Collection[str]
) -> Target:
    running = [job for job in jobs if _runs(job, branch)]
    environments = {_resolved(_environment(job), branch) for job in running} - {""}
    texts = [*_texts(document.get("env"))]
    for job in running:
        texts += _texts({key: value for key, value in job.items() if key != "steps"})
        texts += [text for step in _steps(job) if _runs(step, branch) for text in _texts(step)]
    everything = "\n".join(_resolved(text, branch) for text in texts)
    found = [n for n in names if re.search(rf"(?<![\w.-]){re.escape(n)}(?![\w-]|\.\w)", everything)]
    return Target(branch=branch, environments=tuple(sorted(environments)), foreign=tuple(sorted(found)))


def _environment(job: Mapping[str, Any]) -> str:
    environment = job.get("environment", "")
    return str(environment.get("name", "") if isinstance(environment, dict) else environment)


def _runs(part: Mapping[str, Any], branch: str) -> bool:
    """Whether the `if` of a job or a step lets it run; what can't be worked out does."""
    condition = part.get("if")
    if condition is None:
        return True
    text = str(condition).strip()
    inner = _EXPRESSION.fullmatch(text)
    try:
        return bool(_Expression(inner[1] if inner else text, branch).value())
    except _Unresolved:
        return True


def _resolved(text: str, branch: str) -> str:
    """The text with every expression that speaks of nothing but the branch worked out."""

    def value(match: re.Match[str]) -> str:
        try:
            return str(_Expression(match[1], branch).value())
        except _Unresolved:
            return match[0]

    return _EXPRESSION.sub(value, text)


def _texts(value: Any) -> Iterator[str]:
    """Every value in a part of the document, as text."""
    return (text for _, text in _pairs(value))


class _Unresolved(Exception):
    """The expression needs what only GitHub knows."""


class _Expression:
    """`a == b && c || d`, as GitHub evaluates it: `&&` and `||` return one of their sides."""

    def __init__(self, text: str, branch: str) -> None:
        self._known: dict[str, str | bool] = {
            "github.ref_name": branch,
            "github.ref": f"refs/heads/{branch}",
            "github.event_name": "push",
            "true": True,
            "false": False,
        }
        self._tokens: list[tuple[str, str, str]] = []
        position = 0
        while text[position:].strip():
            token = _TOKEN.match(text, position)
            if token is None:
                raise _Unresolved
            self._tokens.append((token[0].strip(), token[1] or "", token[3] or ""))
            position = token.end()

    def value(self) -> str | bool:
        """What the whole expression comes to; raises `_Unresolved`."""
        result = self._or()
        if self._tokens:
            raise _Unresolved
        return result

    def _take(self, *operators: str) -> str | None:
        if self._tokens and self._tokens[0][0] in operators:
            return self._tokens.pop(0)[0]
        return None

    def _or(self) -> str | bool:
        left = self._and()
        while self._take("||"):
            right = self._and()
            left = left or right
        return left

    def _and(self) -> str | bool:
        left = self._equal()
        while self._take("&&"):
            right = self._equal()
            left = left and right
        return left

    def _equal(self) -> str | bool:
        left = self._one()
        while operator := self._take("==", "!="):
            same = str(left).lower() == str(self._one()).lower()  # GitHub ignores case when it compares
            left = same if operator == "==" else not same
        return left

    def _one(self) -> str | bool:
        if self._take("!"):
            return not self._one()
        if self._take("("):
            inner = self._or()
            if not self._take(")"):
                raise _Unresolved
            return inner
        if not self._tokens:
            raise _Unresolved
        whole, literal, name = self._tokens.pop(0)
        if whole.startswith("'"):
            return literal.replace("''", "'")
        if name not in self._known:
            raise _Unresolved
        return self._known[name]
