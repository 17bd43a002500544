"""Sends messages about a NO-GO, the recovery after it, and a deployment, through apprise: Slack, e-mail, ...

Each environment variable of `[ENV.notify] url_variables` is one receiver. It gets the same root causes once in
`quiet_minutes`, and at most `most_per_hour` NO-GOs. It gets a recovery only after a NO-GO that it got. What each
receiver got stands in `reports/<env>/notified.json`. Nothing here changes a verdict: a failure to send is returned as
a sentence.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, Field

from gli.common import clock
from gli.common.verdict_file import write_whole
from gli.config.parts import Notify
from gli.judge.verdict import Verdict
from gli.report import markdown, texts, wording
from gli.report.bounded_answers import limit_answers
from gli.report.files import PRIVATE_FOLDER
from gli.report.redact import Redactor
from gli.report.wording import label

STATE, LOCK = "notified.json", ".notified.lock"
_LONGEST_TOKEN = 16  # a part of a URL's path that is at least so long is a token, not a word
_MOST_ROOTS = 5
_ANSWER_S = 20.0


@dataclass(frozen=True)
class Message:
    """The content of a message, in plain text."""

    kind: Literal["failure", "success", "info"]
    title: str
    body: str


class Told(BaseModel):
    """The last message to a receiver about one phase."""

    roots: list[str]
    at: datetime
    red: bool


class Receiver(BaseModel):
    """The messages that one receiver has got."""

    phases: dict[str, Told] = Field(default_factory=dict)
    sent: list[datetime] = Field(default_factory=list)
    deployments: list[str] = Field(default_factory=list)


def verdict(verdict: Verdict, notify: Notify, folder: Path, *, report: str, language: str = "en") -> list[str]:
    """Sends a run's verdict to the receivers that need it; returns a sentence for each failure to send.

    `folder` is `reports/<env>`, `report` where the run's report is. A partial run and the on-call run send nothing: no
    gate takes their verdict.
    """
    partial = verdict.is_held_by("partial")
    if not notify.url_variables or partial or verdict.phase == "on-call":
        return []
    problems: list[str] = []
    with _state(folder, problems) as receivers:
        for variable in notify.url_variables:
            receiver = receivers.setdefault(variable, Receiver())
            problems += _tell_verdict(receiver, variable, verdict, notify, report, language)
    return problems


def deployment(
    tag: str, text: str, environment: str, notify: Notify, folder: Path, *, language: str = "en"
) -> list[str]:
    """Sends a deployment, by its tag, once to each receiver; returns a sentence for each failure to send."""
    words = texts.of(language)
    message = Message("info", f"{words['deployed']}: {environment}, {tag}", text)
    problems: list[str] = []
    with _state(folder, problems) as receivers:
        for variable in notify.url_variables:
            receiver = receivers.setdefault(variable, Receiver())
            if tag in receiver.deployments:
                continue
            why = _send(variable, message, language)
            if why is None:
                receiver.deployments = [*receiver.deployments[-49:], tag]
            else:
                problems.append(words["not told"].format(name=variable, why=why))
    return problems


def secrets(notify: Notify | None) -> set[str]:
    """The secrets in the receivers' URLs: each URL as a whole, its password and its tokens."""
    values: set[str] = set()
    for variable in notify.url_variables if notify else ():
        url = os.environ.get(variable, "").strip()
        parts = urlsplit(url)
        values |= {url, unquote(parts.password or "")}
        values |= {part for part in parts.path.split("/") if len(part) >= _LONGEST_TOKEN}
        values |= {part for part in (parts.hostname or "", parts.username or "") if len(part) >= 2 * _LONGEST_TOKEN}
    return values - {""}


def _tell_verdict(
    receiver: Receiver, variable: str, verdict: Verdict, notify: Notify, report: str, language: str
) -> list[str]:
    """Sends to one receiver, if it needs the message, and remembers what it got."""
    words, now, phase = texts.of(language), clock.now(), verdict.phase or "all"
    told = receiver.phases.get(phase)
    roots = [] if verdict.go else _roots(verdict)
    if verdict.go:
        if told is None or not told.red:
            return []
        message = _recovery(verdict, told, report, language)
    else:
        if told and told.red and told.roots == roots and now - told.at < timedelta(minutes=notify.quiet_minutes):
            return []
        receiver.sent = [moment for moment in receiver.sent if now - moment < timedelta(hours=1)]
        if len(receiver.sent) >= notify.most_per_hour:
            return [words["not told"].format(name=variable, why=words["too many"].format(n=len(receiver.sent)))]
        message = _failure(verdict, report, language)
    why = _send(variable, message, language)
    if why is not None:
        return [words["not told"].format(name=variable, why=why)]
    receiver.phases[phase] = Told(roots=roots, at=now, red=not verdict.go)
    receiver.sent += [] if verdict.go else [now]
    return []


def _roots(verdict: Verdict) -> list[str]:
    """The root causes of a NO-GO, or its kind: two NO-GOs with the same ones count as the same."""
    found = sorted(label(root.cause) for root in wording.roots(verdict) if root.holds)
    return found or [reason.kind for reason in verdict.held_by] or list(verdict.reasons)


def _failure(verdict: Verdict, report: str, language: str) -> Message:
    words = texts.of(language)
    roots = [r for r in wording.roots(verdict) if r.holds]
    lines: list[str] = []
    for root in roots[:_MOST_ROOTS]:
        lines.append(f"{root.headed(words)}: {label(root.cause)}")
        lines += [f"  {word}: {text}" for word, text in root.said(words)]
    if roots[_MOST_ROOTS:]:
        lines.append(words["and more"].format(n=len(roots) - _MOST_ROOTS))
    lines += wording.other_reasons(verdict)
    named = wording.some([label(r.cause) for r in roots], words, most=2)
    title = f"{words[verdict.verdict]}: {wording.scope(verdict, words)}" + (f": {named}" if named else "")
    return Message("failure", title, _body([*lines, wording.counts(verdict, words)], report, words))


def _recovery(verdict: Verdict, told: Told, report: str, language: str) -> Message:
    words = texts.of(language)
    before = words["recovered after"].format(roots=wording.some(told.roots, words))
    title = f"{words['recovered']}: {wording.scope(verdict, words)}"
    return Message("success", title, _body([before, markdown.line(verdict, language=language)], report, words))


def _body(lines: Sequence[str], report: str, words: Mapping[str, str]) -> str:
    return "\n".join([*lines, f"{words['report']}: {_job() or report}"])


def _job() -> str | None:
    """The page of the GitHub Actions run that this process is a part of; None outside of GitHub Actions."""
    parts = [os.environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*parts) if all(parts) else None


def _send(variable: str, message: Message, language: str) -> str | None:
    """Sends one message through the URL in an environment variable; why it could not be sent, or None."""
    words, url = texts.of(language), os.environ.get(variable, "").strip()
    if not url:
        return words["unset"]
    redactor = Redactor(secrets(Notify(url_variables=(variable,))))
    found: list[str | Exception | None] = []

    def send() -> None:
        try:
            found.append(_sent(url, message, redactor, words))
        except Exception as e:  # noqa: BLE001 - raised below, in the thread of the caller
            found.append(e)

    # apprise limits each read and not the whole: a receiver that drips would hold the run until its own deadline.
    thread = threading.Thread(target=send, name="notify", daemon=True)
    thread.start()
    thread.join(_ANSWER_S)
    if not found:
        return words["no answer"].format(s=_ANSWER_S)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _sent(url: str, message: Message, redactor: Redactor, words: Mapping[str, str]) -> str | None:
    import apprise  # most of a second: only where somebody has to be told

    limit_answers()
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        channel = apprise.Apprise()
        sent = channel.add(url) and channel.notify(
            title=redactor.text(message.title),
            body=redactor.text(message.body),
            notify_type=apprise.NotifyType(message.kind),
            body_format=apprise.NotifyFormat.TEXT,
        )
        said = redactor.text(log.getvalue())
    return None if sent else " ".join((said or words["refused"]).split())


@contextmanager
def _state(folder: Path, problems: list[str]) -> Iterator[dict[str, Receiver]]:
    """What the receivers were told, written back at the end; one run at a time."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        receivers = _read(folder / STATE, problems)
        yield receivers
        document = {name: receiver.model_dump(mode="json") for name, receiver in receivers.items()}
        write_whole(folder / STATE, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def _read(path: Path, problems: list[str]) -> dict[str, Receiver]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {name: Receiver.model_validate(part) for name, part in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError) as e:
        problems.append(f"{path} could not be read ({type(e).__name__}): everybody is told afresh")
        return {}
