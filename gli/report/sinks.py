"""Writes the reports beside the verdict at the end of a run, and sends its messages.

The verdict is written before, and nothing here changes it: a report that fails is reported in one sentence.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gli.common.verdict_file import write_whole
from gli.config.check import Case
from gli.config.environments import Environment
from gli.config.parts import Notify
from gli.judge.verdict import Verdict
from gli.observe.engine.observation import Record
from gli.report import notify, terminal, texts
from gli.report.junit import junit
from gli.report.markdown import COMMENT_LIMIT, markdown, sentences
from gli.report.redact import Redactor, carried

JUNIT, PAGE, MARKDOWN, INDEX = "junit.xml", "report.html", "report.md", "index.html"
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_SUMMARY_LIMIT = 1024 * 1024
_LEAST = 4_000


def write(
    folder: Path,
    verdict: Verdict,
    lines: Sequence[Mapping[str, Any]],
    environment: Environment,
    cases: Sequence[Case],
    *,
    proves: Mapping[str, str],
    language: str,
) -> list[str]:
    """Writes the reports into the run's folder and renews the index above it; returns a sentence for each failure.

    `proves` says what each check proves. The verdict and the `lines` of facts.jsonl must not hold secrets any more.
    """

    def page() -> None:
        from gli.report import html, topology  # jinja2 with it: only at the end of a run

        records = [Record.model_validate(line) for line in lines]
        drawn = topology.topology(environment, cases)
        write_whole(folder / PAGE, html.page(verdict, records, drawn, language, proves=proves))

    def index() -> None:
        from gli.report import index

        index.write(folder.parent.parent, language)

    steps: list[tuple[str, Callable[[], None]]] = [
        (JUNIT, lambda: write_whole(folder / JUNIT, junit(verdict, language=language))),
        (MARKDOWN, lambda: write_whole(folder / MARKDOWN, markdown(verdict, language=language))),
        (PAGE, page),
        (SUMMARY_VARIABLE, lambda: _append_summary(verdict, language)),
        (INDEX, index),
    ]
    return [problem for name, step in steps for problem in attempt(name, step, language)]


def prepare() -> None:
    """Imports and compiles in a thread what the page needs, while the run waits for its observations."""

    def work() -> None:
        from gli.report import html, web  # noqa: F401 - jinja2 with them

        web.prepare()

    threading.Thread(target=work, name="prepare-page", daemon=True).start()


def tell(folder: Path, verdict: Verdict, receivers: Notify | None, *, language: str) -> list[str]:
    """Sends the verdict to the receivers of `[ENV.notify]`; returns a sentence for each failure."""
    if receivers is None or not receivers.url_variables:
        return []
    problems: list[str] = []

    def step() -> None:
        told = notify.verdict(verdict, receivers, folder.parent, report=str(folder / PAGE), language=language)
        problems.extend(told)

    return [*attempt(notify.STATE, step, language), *problems]


def tell_deployment(environment: Environment, tag: str, text: str, reports: Path, *, language: str) -> list[str]:
    """Sends a deployment to the receivers of `[ENV.notify]`, once for its tag; returns a sentence for each failure."""
    receivers = environment.notify
    if receivers is None or not receivers.url_variables:
        return []
    problems: list[str] = []

    def step() -> None:
        folder = reports / environment.name
        problems.extend(notify.deployment(tag, text, environment.name, receivers, folder, language=language))

    return [*attempt(notify.STATE, step, language), *problems]


def attempt(name: str, step: Callable[[], None], language: str) -> list[str]:
    """Runs a step. Returns a sentence for each failure: one at most."""
    try:
        step()
    except Exception as e:  # noqa: BLE001 - no report may change how a run ends
        return [texts.of(language)["unwritten"].format(file=name, why=f"{type(e).__name__}: {e}")]
    return []


def say(lines: Sequence[str]) -> list[str]:
    """Prints sentences that may quote files and hosts. Returns them as printed: secrets are hidden, and nothing in them
    acts on a terminal or on CI.
    """
    clean = list(map(Redactor(carried()).text, lines))
    terminal.say(clean)
    return clean


def say_and_summarize(lines: Sequence[str]) -> None:
    """Prints sentences like `say`, and adds them to the summary of a GitHub job, if there is one."""
    clean = say(lines)
    path = os.environ.get(SUMMARY_VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(sentences(clean))


def _append_summary(verdict: Verdict, language: str) -> None:
    """Adds the report to the summary of a GitHub job, which takes 1 MiB in all."""
    path = os.environ.get(SUMMARY_VARIABLE)
    if not path:
        return
    with Path(path).open("a", encoding="utf-8") as file:
        free = _SUMMARY_LIMIT - file.tell() - 1
        if free < _LEAST:
            raise OSError(f"{_SUMMARY_LIMIT} bytes are all that it takes, and {max(free, 0)} are left")
        file.write(markdown(verdict, language=language, limit=min(free, COMMENT_LIMIT)) + "\n")
