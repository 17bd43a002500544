"""What people and CI read of a run whose process was ended: the reports, the summary on the terminal, the messages.

The process that watched the run writes them from the verdict on disk, which holds no secrets, and from the files of the
project. There are no facts: what the run had observed is lost with its process.
"""

from __future__ import annotations

from pathlib import Path

from gli.common.verdict_file import VERDICT
from gli.config import catalogue, environments
from gli.config.catalogue import proved
from gli.report import files, notify, sinks, terminal
from gli.report.korean import translated
from gli.report.redact import Redactor, carried
from gli.run.supervisor import Began


class LastWords:
    """The reports of one run, which another process made."""

    def __init__(self, root: Path, began: Began) -> None:
        """Reads the project. Imports what sends messages, if somebody gets some: that takes most of a second."""
        self._folder, self._language = Path(began.folder), began.language
        self._environment = environments.load(root, began.name, overlay=began.overlay)
        self._catalogue = catalogue.load(root)
        receivers = self._environment.notify
        self._redactor = Redactor([*carried(), *notify.secrets(receivers)])
        if receivers is not None and receivers.url_variables:
            import apprise  # noqa: F401

    def say(self) -> None:
        """Writes the reports, prints the summary, and sends the messages."""
        verdict = files.read_verdict(self._folder / VERDICT)
        shown = translated(verdict, self._language, self._catalogue)
        problems = sinks.write(
            self._folder,
            shown,
            (),
            self._environment,
            self._catalogue.cases(self._environment, verdict.phase),
            proves=proved(self._catalogue, self._language),
            language=self._language,
        )
        terminal.say(terminal.summary(shown, str(self._folder / sinks.PAGE), language=self._language))
        if not verdict.replayed and verdict.cell is None:
            problems += sinks.tell(self._folder, shown, self._environment.notify, language=self._language)
        terminal.say([f"WARNING: {self._redactor.text(problem)}" for problem in problems])
