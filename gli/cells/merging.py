"""Writes the merged verdict of a round of cells as a run folder of its own: `verdict.json` and the reports.

`gli.judge.merge` decides; this reads the files, signs, and sends the messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gli.common import clock
from gli.common.case_key import CaseKey
from gli.common.documents import content
from gli.common.errors import UsageError
from gli.common.verdict_file import VERDICT
from gli.config import catalogue, environments, toml_tables, waivers
from gli.config.catalogue import Catalogue, proved
from gli.config.environments import FILE, Environment
from gli.config.phases import Phase
from gli.config.waivers import Waiver
from gli.gate import sign_offs, signing
from gli.judge.merge import Given, Round
from gli.judge.verdict import Verdict
from gli.report import notify, sinks
from gli.report.files import LATEST, RunFolder, sealed
from gli.report.korean import translated
from gli.report.redact import Redactor, carried


@dataclass(frozen=True)
class Setting:
    """What the runs of a round are about."""

    root: Path
    environment: Environment
    catalogue: Catalogue
    waivers: Mapping[CaseKey, Waiver]
    phase: Phase | None
    language: str
    problems: list[str] = field(default_factory=list)
    """Failures that don't change the verdict: a report, a signature, a message."""

    @classmethod
    def of(cls, root: Path, name: str, phase: Phase | None, language: str) -> Setting:
        """The setting of an environment; raises `UsageError` for one without cells, or for a file that is wrong."""
        environment, known = environments.load(root, name), catalogue.load(root)
        if not environment.cells:
            raise UsageError(f"{FILE}: {name} declares no cells; write [{name}.cells.CELL], or run pytest --env={name}")
        known.refuse_unmatched(environment)
        names = toml_tables.environment_names(toml_tables.read_tables(root))
        accepted = waivers.load(root, known, environment, names, clock.now())
        return cls(root, environment, known, accepted, phase, language)

    @property
    def allowed(self) -> Path | None:
        """The file of allowed signers; None if nobody signs."""
        return self.environment.signers(self.root)

    def shown(self, verdict: Verdict) -> Verdict:
        """The verdict in the language of the reports."""
        return translated(verdict, self.language, self.catalogue)


def given(folder: Path, setting: Setting | None) -> Given:
    """The verdict in the folder of a run, and its signer by the setting; raises `UsageError` if it can't be read."""
    path = folder / VERDICT
    try:
        text = content(path)
        verdict, unchanged = sealed(text)
    except (OSError, ValueError) as e:
        raise UsageError(f"{path} is no verdict of schema 1 ({type(e).__name__}); run its cell again") from None
    signer = None
    if setting is not None:
        signer = signing.verdict_signer(path, text, setting.allowed, required=setting.environment.must_be_signed)
    return Given(verdict, unchanged, signer=signer)


def merge(setting: Setting, runs: Sequence[Given], folder: RunFolder) -> Verdict:
    """Joins the runs, and writes verdict and reports into the folder, which exists. Returns the verdict as written.

    Raises `UsageError` if the verdict can't be written.
    """
    environment = setting.environment
    round_ = Round(setting.catalogue, environment, setting.phase, runs, environment.must_be_signed, clock.now())
    verdict = round_.verdict(
        folder.path.name,
        waivers=setting.waivers,
        signed=sign_offs.people_by_item(setting.root, environment, round_.manifest),
        last=folder.last_whole(setting.phase),
        before=folder.last_whole("pre-deploy") if setting.phase == "post-deploy" else None,
    )
    clean = write(setting, verdict, folder)
    setting.problems.extend(filter(None, [signing.sign_verdict(folder.path / VERDICT)]))
    shown, proves = setting.shown(clean), proved(setting.catalogue, setting.language)
    setting.problems.extend(
        sinks.write(folder.path, shown, (), environment, round_.cases, proves=proves, language=setting.language)
    )
    setting.problems.extend(sinks.tell(folder.path, shown, environment.notify, language=setting.language))
    return clean


def write(setting: Setting, verdict: Verdict, folder: RunFolder) -> Verdict:
    """Writes a verdict without secrets; returns it as written."""
    redactor = Redactor([*carried(), *notify.secrets(setting.environment.notify)])
    clean = folder.write_clean(verdict, redactor.text)
    try:
        folder.point_latest_here()
    except OSError as e:  # a copy of it, where CI unpacked one
        setting.problems.append(f"{folder.path.parent / LATEST} still shows another run: {e.strerror}")
    return clean
