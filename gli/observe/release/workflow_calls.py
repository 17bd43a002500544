"""Joins a workflow with the reusable workflows that it calls, so that one list of jobs shows what a push runs.

Pure functions from YAML documents to jobs. Source of truth: GitHub's "Reusing workflow configurations": `github` and
`vars` are the caller's, `inputs` come from `with` or from the defaults, `env` is not passed on, and the caller's
permissions are the most that a called job may have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

from gli.common.sentences import Said, phrase

DEEPEST = 10
"""The most levels of workflows that GitHub lets a workflow have, the caller included."""
_LOCAL = ("./", "$/")
"""Both mean the repository and the commit of the file that the call is in."""
_CALLED = re.compile(r"([\w.-]+)/([\w.-]+)/(\.github/workflows/[\w.-]+\.ya?ml)@(.+)")
_INPUT = re.compile(r"\$\{\{\s*inputs\.([\w-]+)\s*\}\}")
_TOKEN = "id-token"
_MOST_CHARACTERS, _MOST_JOBS, _DEEPEST_DOCUMENT = 500_000, 1_000, 100
_MOST_IN_ALL = 2_000_000
"""The most characters of a document whose anchors are written out: an anchor of anchors may stand for billions."""


class Invalid(Exception):
    """The text of a workflow is no workflow. Holds one sentence."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self.said = said


class Call(NamedTuple):
    """Where the file of a workflow is. Without a repository: in the commit that was pushed."""

    path: str
    owner: str = ""
    repository: str = ""
    ref: str = ""

    def to(self, uses: str) -> Call | None:
        """The file that a `uses` in this file names; None if it names no workflow file."""
        if uses.startswith(_LOCAL):
            return self._replace(path=uses[2:])
        found = _CALLED.fullmatch(uses)
        return Call(found[3], found[1], found[2], found[4]) if found else None


@dataclass(frozen=True)
class Job:
    """One job that a push may run, of the workflow itself or of one that it calls."""

    body: Mapping[str, Any]
    document: Mapping[str, Any]
    """The workflow file that the job is in: its `env` and `defaults` hold for the job."""
    file: Call
    inputs: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    """The `if` of the job and of each job that leads to it; all must hold."""
    queues: bool = False
    """The job waits for earlier runs, by its own `concurrency` or that of a workflow or a job that leads to it."""
    asks_in_vain: bool = False
    """It wants that token, and a workflow that calls it does not let it: GitHub does not start the run."""
    may_ask_for_a_token: bool = False
    """It may request the token with which it assumes a role in AWS (`id-token: write`)."""

    @property
    def known(self) -> dict[str, Any]:
        """The names and values that its expressions may use: `inputs.x`."""
        return {f"inputs.{name}": value for name, value in self.inputs.items()}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The job's steps. A job that calls a workflow which was not read is one step."""
        steps = self.body.get("steps", [self.body] if "uses" in self.body else [])
        return [self.given(s) for s in steps if isinstance(s, dict)] if isinstance(steps, list) else []

    def given(self, value: Any) -> Any:
        """A part of the document with the values of its inputs."""
        if isinstance(value, dict):
            return {key: self.given(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.given(inner) for inner in value]
        if not isinstance(value, str) or not self.inputs:
            return value
        return _INPUT.sub(lambda m: _text(self.inputs[m[1]]) if m[1] in self.inputs else m[0], value)


def document(text: str) -> dict[str, Any]:
    """The YAML of a workflow. Raises `Invalid` if the text is no workflow."""
    import yaml

    if len(text) > _MOST_CHARACTERS:
        raise Invalid(phrase("it has more than {} characters", _MOST_CHARACTERS))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_large(yaml.parse(text, Loader=loader))
        found = yaml.load(text, Loader=loader)
    except yaml.YAMLError as e:
        raise Invalid(phrase("it is not valid YAML: {}", " ".join(str(e).split())[:120])) from None
    if not isinstance(found, dict) or not isinstance(found.get("jobs"), dict):
        raise Invalid(phrase("it has no jobs"))
    return found


def _refuse_large(events: Iterable[Any]) -> None:
    """Raises `Invalid` for a document that is nested too deeply (libyaml's loader would end the process), or too long
    once its anchors are written out: a few anchors of anchors stand for billions of characters.
    """
    sizes: dict[str, float] = {}
    nested: list[tuple[str | None, float]] = [(None, 0)]  # the anchor and the size of each part that is open
    for event in events:
        kind = type(event).__name__
        if kind.endswith(("MappingStartEvent", "SequenceStartEvent")):
            nested.append((event.anchor, 1))
            if len(nested) > _DEEPEST_DOCUMENT:
                raise Invalid(phrase("it is nested more than {} levels deep", _DEEPEST_DOCUMENT))
            continue
        if kind.endswith(("MappingEndEvent", "SequenceEndEvent")):
            anchor, size = nested.pop()
        elif kind == "AliasEvent":
            anchor, size = None, sizes.get(event.anchor, math.inf)  # none yet: the part holds itself
        else:
            anchor, size = getattr(event, "anchor", None), 1 + len(getattr(event, "value", None) or "")
        if anchor is not None:
            sizes[anchor] = size
        above, so_far = nested.pop()
        if so_far + size > _MOST_IN_ALL:
            raise Invalid(phrase("its anchors make it longer than {} characters", _MOST_IN_ALL))
        nested.append((above, so_far + size))


def calls(text: str, file: Call) -> tuple[Call | None, ...]:
    """What each calling job calls (None: no workflow file). Raises `Invalid` if the text is no workflow."""
    used = [str(job["uses"]) for job in _jobs(document(text)).values() if "uses" in job]
    return tuple(file.to(uses) for uses in dict.fromkeys(used))


def jobs(found: Mapping[str, Any], file: Call, called: Mapping[Call, str]) -> list[Job]:
    """Every job, each after the jobs that it needs, otherwise in the order of the files.

    `called` has the texts of the called workflows. Raises `Invalid` if one of them is no workflow, or if workflows call
    each other too deep.
    """
    start = Job({}, found, file, queues=_queues(found.get("concurrency")), may_ask_for_a_token=True)
    expanded = list(islice(_expanded(start, called, DEEPEST), _MOST_JOBS + 1))
    if len(expanded) > _MOST_JOBS:
        raise Invalid(phrase("its workflows have more than {} jobs", _MOST_JOBS))
    return expanded


def _expanded(above: Job, called: Mapping[Call, str], levels: int) -> Iterator[Job]:
    if levels == 0:
        raise Invalid(phrase("its workflows call each other more than {} levels deep", DEEPEST))
    for body in _in_order(_jobs(above.document)):
        condition = body.get("if")
        job = replace(
            above,
            body=body,
            conditions=(*above.conditions, *([] if condition is None else [str(condition)])),
            queues=above.queues or _queues(body.get("concurrency")),
            asks_in_vain=above.asks_in_vain or (not above.may_ask_for_a_token and _may_ask(body, above)),
            may_ask_for_a_token=above.may_ask_for_a_token and _may_ask(body, above),
        )
        file = above.file.to(str(body.get("uses", "")))
        if file is None or file not in called:
            yield job
            continue
        inner = document(called[file])
        inside = replace(
            job,
            document=inner,
            file=file,
            inputs=_inputs(inner, job.given(body.get("with") or {})),
            queues=job.queues or _queues(inner.get("concurrency")),
        )
        yield from _expanded(inside, called, levels - 1)


def _inputs(inner: Mapping[Any, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a called workflow: what `with` gives, and the defaults of the others."""
    on = triggers(inner)
    call = on.get("workflow_call") if isinstance(on, dict) else None
    declared = (call or {}).get("inputs") or {}
    empty: Mapping[Any, Any] = {"boolean": False, "number": 0}
    about = {str(name): of_one or {} for name, of_one in declared.items()}
    return {name: given.get(name, one.get("default", empty.get(one.get("type"), ""))) for name, one in about.items()}


def triggers(found: Mapping[Any, Any]) -> Any:
    """What starts a workflow. YAML 1.1 reads the key `on` as true."""
    return found.get("on", found.get(True))


def _may_ask(body: Mapping[str, Any], above: Job) -> bool:
    """Whether a job may request the token of OpenID Connect. Without `permissions`, a called job has the caller's."""
    permissions = body.get("permissions", above.document.get("permissions"))
    if permissions is None:
        return bool(above.body) and above.may_ask_for_a_token
    return permissions == "write-all" or (isinstance(permissions, dict) and permissions.get(_TOKEN) == "write")


def _queues(concurrency: Any) -> bool:
    """Whether the runs of a group wait for each other. `cancel-in-progress` would stop a deploy half-way."""
    if isinstance(concurrency, dict):
        return bool(concurrency.get("group")) and concurrency.get("cancel-in-progress") is not True
    return bool(concurrency)


def _jobs(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(name): job for name, job in found["jobs"].items() if isinstance(job, dict)}


def _in_order(named: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs, each after the jobs that it `needs`, otherwise in the order of the file."""
    ordered: dict[str, dict[str, Any]] = {}
    left = dict(named)
    while left:
        ready = next((name for name, job in left.items() if not _needs(job) & left.keys()), next(iter(left)))
        ordered[ready] = left.pop(ready)
    return list(ordered.values())


def _needs(job: Mapping[str, Any]) -> set[str]:
    needs = job.get("needs") or []
    return {needs} if isinstance(needs, str) else {str(name) for name in needs}


def _text(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
