"""Verdicts of every kind, the exit code of the run, and their golden files in every format.

`python tests/sample_verdicts.py` writes the golden files again; review the changes before you commit them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gli.common.sentences import expected_and_seen, listed, phrase, saw
from gli.common.verdict_file import last_line
from gli.judge.coverage import Coverage, Exemption, PartLine
from gli.judge.outcome import Outcome
from gli.judge.verdict import Accepted, CheckLine, ItemLine, Reason, RootCause, SignOff, SinceLast, Suite, Verdict
from gli.report import html, junit, markdown, prometheus, terminal
from gli.report.korean import translated

GOLDEN = Path(__file__).parent / "golden"
FOLDER = GOLDEN / "verdicts"
REPOSITORIES = (
    *("gli_root", "gli_api-server", "gli_user-frontend", "gli_admin-frontend"),
    *("gli_websocket", "gli_database", "gli_redis", "gli_rabbitmq"),
)
PASSING = (
    *("dns-host-resolves[stg-api.glibiz.com]", "dns-host-resolves[stg.glibiz.com]", "tls-chain-valid[stg.glibiz.com]"),
    *("alb-active[stg-gli-alb]", "sg-db-ingress[stg-gli-database]", "db-tcp-reachable[stg-gli-database]"),
    *("db-credentials-valid[stg-gli-database]", "redis-ping[stg-gli-redis]", "api-health[api]", "api-deep-health[api]"),
    *("ws-ping-pong[websocket]", "spa-assets-resolve[user]", "spa-assets-resolve[admin]", "git-tested-sha[stg]"),
    *("alarm-resources-watched[stg-gli-]", "mq-consumers[stg/gli/rabbitmq]", "ecs-rollout-completed[api]"),
)
OPENED = saw(
    phrase("{} open to {}", 5432, "203.0.113.7/32"),
    expected=phrase(
        "{} to take only {}",
        "stg-gli-database",
        listed(["stg-gli-api-tasks", "stg-gli-verify"]),
    ),
)
MEND_INGRESS = "Restore the security group: the named groups on the database's port, nothing else."


COVERED = Coverage(
    judged=120,
    checks=150,
    parts=(
        PartLine(part="services", state="verified", judged=30, checks=32),
        PartLine(part="cache", state="not-verified", judged=0, checks=6),
        PartLine(part="broker", state="absent", why="the shop has no messages", checks=5),
        PartLine(part="logs", state="left-out", why="[stg.logs] groups", checks=2),
    ),
    not_applicable=(Exemption(check="cors-*", target="api", reason="one origin", owner="Park Yuna", cases=2),),
)


def check(label: str, outcome: str = "passed", message: str = "", **more: Any) -> CheckLine:
    """One case by its label, `api-health[api]`."""
    id_, _, target = label.removesuffix("]").partition("[")
    facts = (f"{id_.partition('-')[0]}_observation[{target}]",)
    fields = {"severity": "block", "phase": "both", "duration_s": 0.0123, "facts": facts} | more
    expected, seen = expected_and_seen(message)
    said = {"message": str(message), "expected": expected, "seen": seen}
    return CheckLine(id=id_, target=target, outcome=Outcome(outcome), **said, **fields)


def root(line: CheckLine, *explains: str) -> RootCause:
    return RootCause(check=line.id, target=line.target, message=line.message, hint=line.hint, explains=explains)


def verdict(*changed: CheckLine, go: bool = False, reasons: tuple[Reason, ...] = (), **more: Any) -> Verdict:
    """A verdict of `stg` with these cases changed, worst first."""
    labels = {str(c.key) for c in changed}
    passing = [check(p) for p in PASSING if p not in labels]
    checks = sorted([*changed, *passing], key=lambda c: c.outcome.rank)
    counts = Counter(c.outcome.value for c in checks)
    fields: dict[str, Any] = {
        "run": "20260131T090000.000-4711",
        "environment": "stg",
        "phase": "pre-deploy",
        "vantage": "vpc",
        "started": "2026-01-31T09:00:00.000Z",
        "finished": "2026-01-31T09:00:03.210Z",
        "expires": "2026-01-31T11:00:03.210Z",
        "suite": Suite(version="1.0.0", revision="5a17" * 10, catalogue_sha256="ca7a" * 16),
        "account": "123456789012",
        "manifest": {
            name: {"branch": "stg", "commit": f"{n + 1:x}" * 40, "tree": f"{n + 8:x}" * 40}
            for n, name in enumerate(REPOSITORIES)
        },
        "served": {"api": "2" * 40, "user": "3" * 40, "websocket": None},
        "counts": {o.value: counts[o.value] for o in Outcome if counts[o.value]},
        "requests": {"dns": 12, "https": 48, "postgres": 9, "rds": 4},
        "coverage": COVERED,
        "checks": tuple(checks),
        "checklist": items(checks),
    }
    said = {"reasons": tuple(str(r.message) for r in reasons), "held_by": reasons}
    return Verdict(verdict="GO" if go else "NO-GO", **(said | fields | more))


ITEMS = (
    ("PRE-00", "Right target, right credentials", "The run looks at the right account", ("dns-host-resolves",), 0),
    ("PRE-01", "Staging has been tested", "What will be merged is exactly what staging runs", ("git-tested-sha",), 0),
    ("PRE-02", "Staging has been tested", "Staging has converged on that build", ("ecs-rollout-completed",), 0),
    (
        *("PRE-03", "Staging has been tested", "Staging answers: edge, API, WebSocket, data tier"),
        ("alb-active", "db-tcp-reachable", "redis-ping", "ws-ping-pong", "mq-consumers"),
        0,
    ),
    ("PRE-05", "Staging has been tested", "Exploratory and business acceptance on staging", (), 2),
    (
        *("PRE-12", "Database migrations have been reviewed", "The database can take them now"),
        ("sg-db-ingress", "db-credentials-valid"),
        1,
    ),
    ("PRE-20", "API endpoints have been tested", "Every endpoint answers as agreed", ("api-health",), 0),
    ("PRE-30", "Frontend and admin dashboard have been tested", "Both serve", ("spa-assets-resolve",), 0),
    ("PRE-53", "The release can be made", "Somebody will be told", ("alarm-resources-watched",), 0),
)


def items(checks: list[CheckLine]) -> tuple[ItemLine, ...]:
    """A short checklist over the cases."""
    made = []
    for item, heading, text, ids, needed in ITEMS:
        proofs = [c for c in checks if c.id in ids]
        signed = ("Kim Jisoo <jisoo@example.com>",) if needed else ()
        red = next((c.outcome.value for c in proofs if c.outcome is not Outcome.PASSED), None)
        outcome = red or ("pending" if len(signed) < needed else "passed")
        made.append(
            ItemLine(
                item=item,
                heading=heading,
                text=text,
                outcome=outcome,
                checks=tuple(str(c.key) for c in proofs),
                sign_off=SignOff(needed=needed, by=signed) if needed else None,
            )
        )
    return tuple(made)


INGRESS = check("sg-db-ingress[stg-gli-database]", "failed", OPENED, hint=MEND_INGRESS)
SYMPTOMS = tuple(
    check(label, "blocked", message, blocked_by="sg-db-ingress[stg-gli-database]", hint="Look at its cause first.")
    for label, message in (
        (
            "db-tcp-reachable[stg-gli-database]",
            saw("connection timed out", expected=phrase("a connection to {}", "10.0.3.17:5432")),
        ),
        ("db-credentials-valid[stg-gli-database]", "the database did not answer"),
        ("api-deep-health[api]", saw("503 application/json", expected=200)),
    )
)
STALE = check(
    *("spa-assets-resolve[user]", "failed"),
    saw("/assets/index-4f1c.js answer text/html", expected="every asset of index.html"),
    hint="Upload the assets before index.html, then invalidate /index.html.",
)
DENIED = check(
    *("alarm-resources-watched[stg-gli-]", "unknown"),
    "access denied: cloudwatch:DescribeAlarms is not in the role's policy",
    hint="Compare the alarm's dimensions with what runs now.",
)
ROLLED_BACK = check(
    *("ecs-rollout-completed[api]", "failed"),
    saw("1111111 after a rollback", expected="revision 2222222 on every task"),
    hint="Read the service's events; mend what made the new tasks unhealthy, then deploy again.",
)
LATE = check("tls-chain-valid[stg.glibiz.com]", "failed", "the certificate ends in 12 days", severity="warn")
WAIVED = INGRESS.model_copy(
    update={
        "outcome": Outcome.WAIVED,
        "waiver": Accepted(
            reason="the migration host is open until Friday",
            owner="Lee Minho <minho@example.com>",
            expires="2026-02-06T00:00:00.000Z",
        ),
    }
)
ABSENT = check(
    *("mq-consumers[stg/gli/rabbitmq]", "not-applicable"),
    "RabbitMQ is not installed on this machine: apt-get install rabbitmq-server",
)


def reasons_of(*lines: CheckLine) -> tuple[Reason, ...]:
    """The reasons, made by `gli.judge.judgement`."""
    made = []
    for line in lines:
        message = line.seen if line.expected is None else saw(line.seen, expected=line.expected)
        said = phrase(f"{{}} {line.outcome.value}: {{}}", line.key, message)
        made.append(Reason(kind=line.outcome.value, labels=(str(line.key),), message=said))
    return tuple(made)


def held_back(labels: Sequence[str]) -> Reason:
    said = phrase("{} blocked by root causes: {}", len(labels), listed(labels))
    return Reason(kind="blocked", labels=labels, message=said)


def silent(labels: Sequence[str]) -> Reason:
    said = phrase("{} of {} cases did not report: {}", len(labels), len(PASSING), listed(labels))
    return Reason(kind="missing", labels=labels, message=said)


def not_whole(kind: str, why: str, *values: object) -> Reason:
    """`kind` is `incomplete` or `partial`."""
    return Reason(kind=kind, message=phrase(kind + ": {}", phrase(why, *values)))


def unjudged(outcome: str, message: str, **more: Any) -> list[CheckLine]:
    return [check(label, outcome, message, **more) for label in PASSING]


SILENT = phrase("it did not report: it was not run, or its report was lost")
WRONG = (
    "wrong AWS account: [stg] is account 123456789012, these credentials belong to 210987654321; "
    "check AWS_PROFILE or the role"
)
IDENTITY = check("aws-caller-identity[ap-northeast-2]", "failed", WRONG, hint="Check AWS_PROFILE.", duration_s=0.0)
EMPTY: dict[str, Any] = {"manifest": {}, "served": {}, "requests": {}, "checklist": ()}

SAMPLES: dict[str, tuple[int, Verdict]] = {
    "go": (
        0,
        verdict(
            check("api-health[api]", message="passed on attempt 2", attempts=2),
            LATE,
            ABSENT,
            go=True,
            root_causes=(root(LATE),),
        ),
    ),
    "no-go": (
        1,
        verdict(
            *(INGRESS, STALE, LATE, ABSENT, *SYMPTOMS),
            reasons=(
                *reasons_of(INGRESS, STALE),
                held_back([str(c.key) for c in SYMPTOMS]),
            ),
            root_causes=(
                root(INGRESS, *(str(c.key) for c in SYMPTOMS)),
                root(STALE),
                root(LATE),
            ),
            since_last=SinceLast(
                new=("sg-db-ingress[stg-gli-database]", *(str(c.key) for c in SYMPTOMS)),
                still=("spa-assets-resolve[user]",),
                fixed=("redis-ping[stg-gli-redis]",),
            ),
        ),
    ),
    "unknown": (1, verdict(DENIED, reasons=reasons_of(DENIED), root_causes=(root(DENIED),))),
    "blocked": (
        1,
        verdict(
            *(INGRESS, *SYMPTOMS),
            reasons=(
                *reasons_of(INGRESS),
                held_back([str(c.key) for c in SYMPTOMS]),
            ),
            root_causes=(root(INGRESS, *(str(c.key) for c in SYMPTOMS)),),
        ),
    ),
    "waived": (0, verdict(WAIVED, go=True)),
    "partial": (
        1,
        verdict(
            *unjudged("missing", SILENT)[1:],
            phase=None,
            reasons=(
                not_whole("partial", "{} of {} cases were selected", 1, 17),
                silent(PASSING[1:]),
            ),
            manifest={},
        ),
    ),
    "incomplete": (
        2,
        verdict(
            *unjudged("missing", SILENT),
            reasons=(
                not_whole("incomplete", "interrupted"),
                silent(PASSING),
            ),
            **EMPTY,
        ),
    ),
    "refused": (
        4,
        verdict(
            IDENTITY,
            *unjudged(
                "blocked",
                phrase("not asked: the identity of the run is not confirmed"),
                blocked_by="aws-caller-identity[ap-northeast-2]",
            ),
            reasons=(
                *reasons_of(IDENTITY),
                held_back(PASSING),
            ),
            root_causes=(root(IDENTITY, *PASSING),),
            **(EMPTY | {"account": None, "requests": {"sts": 1}}),
        ),
    ),
    "post-deploy": (
        1,
        verdict(
            STALE.model_copy(update={"before_deploy": True}),
            ROLLED_BACK,
            environment="prod",
            phase="post-deploy",
            reasons=reasons_of(ROLLED_BACK, STALE),
            root_causes=(
                root(ROLLED_BACK),
                root(STALE),
            ),
            since_last=SinceLast(new=("ecs-rollout-completed[api]",), still=("spa-assets-resolve[user]",)),
            since_pre_deploy=SinceLast(new=("ecs-rollout-completed[api]",), still=("spa-assets-resolve[user]",)),
        ),
    ),
}
"""Name to exit code and verdict."""


def _page(name: str) -> str:
    """The page without its style and script, which are the same in every page."""
    whole = html.page(SAMPLES[name][1], (), None, "en")
    for part in ("style", "script"):
        whole = re.sub(rf"(<{part}[^>]*>).*?(</{part}>)", r"\1\2", whole, flags=re.DOTALL)
    return re.sub(r"sha256-[^']+", "sha256-...", whole)


def _terminal(name: str, language: str, verbosity: int = 0) -> str:
    """The text that the plugin prints at the end of a run."""
    verdict, report = SAMPLES[name][1], "reports/stg/20260131T090000.000-4711/report.html"
    if name == "refused":
        said = terminal.refusal(WRONG, report, language=language)
    else:
        said = terminal.summary(translated(verdict, language, None), report, language=language, verbosity=verbosity)
    return "\n".join([*said, last_line(verdict.environment, verdict.verdict)]) + "\n"


FORMATS: dict[str, Callable[[str], str]] = {
    "html": _page,
    "txt": lambda name: _terminal(name, "en"),
    "ko.txt": lambda name: _terminal(name, "ko"),
    "q.txt": lambda name: _terminal(name, "en", -1),
    "v.txt": lambda name: _terminal(name, "en", 1),
    "md": lambda name: markdown.markdown(SAMPLES[name][1]),
    "ko.md": lambda name: markdown.markdown(translated(SAMPLES[name][1], "ko", None), language="ko"),
    "line": lambda name: markdown.line(SAMPLES[name][1]) + "\n",
    "junit.xml": lambda name: junit.junit(SAMPLES[name][1]),
    "prom": lambda name: prometheus.prometheus(SAMPLES[name][1]),
}
"""The text of a sample in each format."""


def golden(name: str, kind: str) -> Path:
    """The golden file of a sample, with the run's exit code in its name: `no-go.1.txt`."""
    return GOLDEN / f"{name}.{SAMPLES[name][0]}.{kind}"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (_, sample) in SAMPLES.items():
        text = json.dumps(sample.document(), ensure_ascii=False, indent=1)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        for kind, render in FORMATS.items():
            golden(name, kind).write_text(render(name), encoding="utf-8")
