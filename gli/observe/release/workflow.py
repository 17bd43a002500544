"""Reads the parts of a GitHub Actions workflow that matter for a release: its triggers, its steps, its targets.

Pure functions from text to model. `${{ }}` expressions that depend on the branch and on inputs alone are evaluated,
for one branch at a time. Expressions that need a secret or a variable stay as they are written, since only GitHub knows
their values. Source of truth: GitHub's "Workflow syntax" and "Evaluate expressions".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from gli.common.sentences import Said, phrase
from gli.observe.engine.observation import Observation
from gli.observe.release import workflow_calls, workflow_checkouts
from gli.observe.release.workflow_calls import Call, Invalid, Job, document
from gli.observe.release.workflow_expressions import Expression, Unresolved
from gli.observe.release.workflow_retired import retired

_EXPRESSION = re.compile(r"\$\{\{((?:[^}$]|\}(?!\})|\$(?!\{\{))*+)\}\}")
_SETS = re.compile(r"set\s+[-+]")
_SWALLOWS = re.compile(
    r"\|\|\s*(true|:|exit\s+0|\{?\s*(echo|printf)\b(?!.*\b(exit\s+[1-9]|exit\s*[;}]|false)).*)\s*;?\s*(#.*)?$"
)
_PRINTS = re.compile(r"(?:echo|printf)\b[^|&;`(]*|true|:|exit 0", re.IGNORECASE)
_HEEDLESS = re.compile(r"\balways\(\)|!\s*cancelled\(\)|(?<!!)\bfailure\(\)", re.IGNORECASE)
_ASKS_FOR_RESULTS = re.compile(r"\.(?:result|outcome|conclusion)\b|&&\s*success\(\)|\bsuccess\(\)\s*&&", re.IGNORECASE)
_LONGEST_COMMAND = 8_000  # the patterns take the square of its length
_IN_BACKGROUND = re.compile(r"[^&>|]&\s*(#.*)?$")
_ASKED_ONLY = re.compile(r"(?:if|while|until)\s.*;\s*(?:then|do)\b(?!.*\b(?:exit|false)\b).*\b(?:fi|done)$")
_INSIDE = re.compile(r"(?:export|local|readonly|declare)\b[^|]*\$\(")
"""Commands whose own success hides the failure of a command inside `$( )`."""
_PIPE = re.compile(r"[^|&>]\|(?![|&])")
_CREDENTIALS = re.compile(r"aws-actions/configure-aws-credentials@", re.IGNORECASE)
_HOSTED = re.compile(r"(?:ubuntu|windows|macos)-[\w.-]+")
"""Runners of GitHub, which have no role of their own."""
_KEYS = frozenset({"aws-access-key-id", "aws-secret-access-key"})


class Excuse(Observation):
    """A command whose failure does not fail the run."""

    command: str
    """The command, in lower case; empty: every command of the step."""
    why: Said
    """`continue-on-error`, `|| true`, `set +e`, `a pipe without pipefail`."""


class Step(Observation):
    """One step of a job, or a job that calls another workflow."""

    text: str
    """Name, `uses`, `with` and `run`, in lower case."""
    branches: tuple[str, ...] = ()
    """The examined branches whose push runs this step; all of them if the step's `if` can't be evaluated."""
    excuses: tuple[Excuse, ...] = ()
    heedless: bool = False
    """It runs although a step or a job before it failed: an `if` with `always()` that asks for no result."""
    idle: bool = False
    """Its script does nothing but print."""

    def has(self, words: Collection[str]) -> bool:
        """Whether the step's text contains one of the words, in any case."""
        return any(word.lower() in self.text for word in words)

    def excuse(self, words: Collection[str]) -> str | None:
        """Why a failure of the command with one of these words does not fail the run; None if it does."""
        return next(
            (e.why for e in self.excuses if not e.command or any(word.lower() in e.command for word in words)), None
        )


class Target(Observation):
    """What a push of one branch deploys, and where to."""

    branch: str
    environments: tuple[str, ...]
    """The GitHub environments of the jobs that run for this push."""
    foreign: tuple[str, ...]
    """The names in these jobs that belong to another branch's environment."""
    builds: tuple[str, ...] = ()
    """The refs that these jobs check out instead of the pushed commit."""
    retired: tuple[str, ...] = ()
    """The runner images and actions of these jobs that GitHub no longer runs, sorted."""
    refused: tuple[str, ...] = ()
    """The actions that take a role in AWS in a job that may not request the token for it, sorted."""
    tokens: tuple[str, ...] = ()
    """What the tokens of the jobs that take a role in AWS are for, sorted: `environment:staging`, and for a job without
    an environment `ref:refs/heads/stg`."""


class Workflow(Observation):
    """One workflow file."""

    path: str
    error: Said | None = None
    """Why the file can't be read; None if it can."""
    pushes: tuple[str, ...] = ()
    """The examined branches whose push starts the workflow."""
    unheard: bool = False
    """Its filters of paths take no file of the repository's code: no change of the code starts it."""
    steps: tuple[Step, ...] = ()
    """Every step, in the order of the jobs: each after the jobs that it `needs`, otherwise in the order of the file."""
    targets: tuple[Target, ...] = ()
    serial: bool = False
    """Each deploy waits until the one before has ended, and the next one does not cancel it."""
    assumes_role: bool = False
    """A job may request the token with which it assumes a role in AWS (`id-token: write`)."""
    static_keys: tuple[str, ...] = ()
    """The names of the settings that hold stored AWS keys, sorted."""
    waits: bool = False
    """The workflow waits until ECS has replaced the tasks."""

    def first(self, words: Collection[str], start: int = 0) -> int | None:
        """The index of the first step, from `start` on, that contains one of the words; None if there is none."""
        return next((i for i in range(start, len(self.steps)) if self.steps[i].has(words)), None)


def read(
    path: str, text: str | None, foreign: Mapping[str, Collection[str]], called: Mapping[Call, str] | None = None
) -> Workflow:
    """Reads the workflow in a file, together with the workflows that its jobs call.

    `foreign` maps each branch to the names that a push of it must not touch. `called` has the
    texts of the workflows that are called; a job whose workflow is not in it counts as one step.
    """
    if text is None:
        return Workflow(path=path, error=phrase("there is no such file"))
    try:
        found = document(text)
        jobs = workflow_calls.jobs(found, Call(path), called or {})
    except Invalid as e:
        return Workflow(path=path, error=e.said)
    files = [found, *[job.document for job in jobs if job.document is not found]]
    return Workflow(
        path=path,
        pushes=tuple(b for b in foreign if _starts(workflow_calls.triggers(found), b)),
        steps=tuple(_step(job, step, tuple(foreign)) for job in jobs for step in job.steps),
        targets=tuple(_target(jobs, branch, names) for branch, names in foreign.items()),
        serial=bool(jobs) and all(job.queues for job in jobs),
        assumes_role=any(job.may_ask_for_a_token for job in jobs),
        static_keys=tuple(sorted({key for key, value in _pairs(files) if _is_stored_key(key, value)})),
        waits=any(_is_waiting(key, value) for job in jobs for key, value in _pairs(job.given(job.body))),
    )


def _is_stored_key(key: str, value: str) -> bool:
    """Whether this is one of a pair of stored AWS keys. A key from an earlier step's output is not stored."""
    return key.lower().replace("_", "-") in _KEYS and not re.search(r"\b(steps|needs)\.", value)


def _is_waiting(key: str, value: str) -> bool:
    return (
        "services-stable" in value
        or "wait-service-deployment" in value
        or (key == "wait-for-service-stability" and value.lower() == "true")
    )


def _pairs(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, value as text) for every value in a part of the document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _pairs(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner, key)
    elif value is not None:
        yield key, str(value)


def _starts(on: Any, branch: str) -> bool:
    """Whether a push of the branch starts the workflow."""
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


def _step(job: Job, step: Mapping[str, Any], branches: Sequence[str]) -> Step:
    excuses = [Excuse(command="", why="continue-on-error") for part in (job.body, step) if _is_excused(part)]
    run = step.get("run")
    if isinstance(run, str):
        shells = [part.get("shell") for part in (step, _run_defaults(job.body), _run_defaults(job.document))]
        excuses += _excuses(run.lower(), next((str(shell) for shell in shells if shell), ""))
    return Step(
        text=" ".join(_texts(step)).lower(),
        branches=tuple(b for b in branches if _runs(job, b) and _holds(step.get("if"), b, job.known)),
        excuses=tuple(excuses),
        heedless=any(_is_heedless(condition) for condition in (*job.conditions, step.get("if"))),
        idle=isinstance(run, str) and bool(run.strip()) and all(map(_PRINTS.fullmatch, filter(None, _lines(run)))),
    )


def _lines(run: str) -> list[str]:
    """The commands of a shell script, without comments."""
    joined = run.replace("\\\n", " ").splitlines()
    return [line for line in (" ".join(line.split()) for line in joined) if not line.startswith("#")]


def _is_heedless(condition: Any) -> bool:
    text = str(condition or "")
    return bool(_HEEDLESS.search(text)) and not _ASKS_FOR_RESULTS.search(text)


def _run_defaults(part: Mapping[str, Any]) -> Mapping[str, Any]:
    defaults: Any = part.get("defaults")
    run = defaults.get("run") if isinstance(defaults, dict) else None
    return run if isinstance(run, dict) else {}


def _is_excused(part: Mapping[str, Any]) -> bool:
    """Whether `continue-on-error` is or may be true: the value of an expression is not known."""
    value = part.get("continue-on-error", False)
    return value is True or (isinstance(value, str) and value.strip().lower() != "false")


def _excuses(run: str, shell: str) -> list[Excuse]:
    """The commands of a shell script after whose failure the script goes on.

    Without `shell`, GitHub starts `bash -e`; with `shell: bash`, it starts `bash -eo pipefail`.
    """
    piping = shell == "bash" or "pipefail" in shell
    stopping = shell in ("", "bash", "sh") or "-e" in shell
    excuses: list[Excuse] = []
    for line in run.replace("\\\n", " ").splitlines():
        command = " ".join(line.split())
        if len(command) > _LONGEST_COMMAND:
            excuses.append(Excuse(command=command, why=phrase("more than {} characters", _LONGEST_COMMAND)))
        elif _SETS.match(command):
            piping = piping or "pipefail" in command
            stopping = (stopping or bool(re.search(r"\s-[a-z]*e", command))) and not re.search(r"\s\+[a-z]*e", command)
        elif swallowed := _SWALLOWS.search(command):
            excuses.append(Excuse(command=command[: swallowed.start()], why=swallowed[0].strip()))
        elif _IN_BACKGROUND.search(command):
            excuses.append(Excuse(command=command, why=phrase("a command in the background")))
        elif _ASKED_ONLY.match(command) or _INSIDE.match(command):
            excuses.append(Excuse(command=command, why=phrase("a command whose result is not asked")))
        elif not stopping:
            excuses.append(Excuse(command=command, why="set +e"))
        elif not piping and (pipe := _PIPE.search(command)):
            excuses.append(Excuse(command=command[: pipe.start() + 1], why=phrase("a pipe without pipefail")))
    return excuses


def _target(jobs: Sequence[Job], branch: str, names: Collection[str]) -> Target:
    environments: set[str] = set()
    texts: list[str] = []
    builds: list[str] = []
    gone: set[str] = set()
    refused: set[str] = set()
    tokens: set[str] = set()
    for job in jobs:
        if not _runs(job, branch):
            continue
        steps = [step for step in job.steps if _holds(step.get("if"), branch, job.known)]
        settings = [{key: value for key, value in job.body.items() if key != "steps"}, job.document.get("env"), *steps]
        texts += [_resolved(text, branch, job.known) for text in _texts(settings)]
        place = _resolved(_environment(job.body), branch, job.known)
        environments.add(place)
        if any(map(_takes_a_role, steps)) and "${{" not in place:
            tokens.add(f"environment:{place}" if place else f"ref:refs/heads/{branch}")
        on = job.given(job.body.get("runs-on"))
        on = _resolved(on, branch, job.known) if isinstance(on, str) else on
        gone |= {*retired(on, steps)}
        if job.asks_in_vain or (not job.may_ask_for_a_token and _HOSTED.fullmatch(str(on))):
            refused |= {str(step["uses"]).partition("@")[0] for step in steps if _takes_a_role(step)}
        env = {**_table(job.document.get("env")), **_table(job.given(job.body.get("env")))}
        builds += workflow_checkouts.builds(steps, env, branch, partial(_resolved, branch=branch, known=job.known))
    everything = "\n".join(texts)
    written = [n for n in names if n in everything]
    found = [n for n in written if re.search(rf"(?<![\w.-]){re.escape(n)}(?![\w-]|\.\w)", everything)]
    return Target(
        branch=branch,
        environments=tuple(sorted(environments - {""})),
        foreign=tuple(sorted(found)),
        builds=tuple(builds),
        retired=tuple(sorted(gone)),
        refused=tuple(sorted(refused)),
        tokens=tuple(sorted(tokens)),
    )


def _takes_a_role(step: Mapping[str, Any]) -> bool:
    """Whether a step takes a role by OpenID Connect: not by stored keys, nor from a role that it has already."""
    given = _table(step.get("with"))
    by_another = {*_KEYS, "role-chaining", "web-identity-token-file"} & given.keys()
    return bool(_CREDENTIALS.match(str(step.get("uses") or "")) and given.get("role-to-assume") and not by_another)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _environment(job: Mapping[str, Any]) -> str:
    environment = job.get("environment", "")
    return str(environment.get("name", "") if isinstance(environment, dict) else environment)


def _runs(job: Job, branch: str) -> bool:
    """Whether a push of the branch runs the job: every `if` on the way to it holds."""
    return all(_holds(condition, branch, job.known) for condition in job.conditions)


def _holds(condition: Any, branch: str, known: Mapping[str, Any]) -> bool:
    """Whether an `if` holds. True if the condition can't be evaluated."""
    if condition is None:
        return True
    text = str(condition).strip()
    inner = _EXPRESSION.fullmatch(text)
    try:
        return bool(Expression(inner[1] if inner else text, branch, known).value())
    except Unresolved:
        return True


def _resolved(text: str, branch: str, known: Mapping[str, Any]) -> str:
    """The text, with every expression that depends on the branch and on what is known alone replaced by its value."""

    def value(match: re.Match[str]) -> str:
        try:
            return str(Expression(match[1], branch, known).value())
        except Unresolved:
            return match[0]

    return _EXPRESSION.sub(value, text)


def _texts(value: Any) -> Iterator[str]:
    """Every value in a part of the document, as text."""
    return (text for _, text in _pairs(value))
