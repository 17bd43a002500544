"""The gate: reads the newest verdict of an environment and says yes or no, with the reason.

A verdict counts only for its own environment, phase, catalogue and commits, for a limited time, and only if the file
is unchanged since the run wrote it. The gate to production needs two verdicts: staging's (the release was tested) and
production's (production is ready for the release). The gate also needs the sign-offs of people. `judged` and `signed`
are pure functions; the other functions fetch their input. Exit codes: 0 yes, 1 refused, 3 can't tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gli.common import clock
from gli.common.clock import CLOCKS_DIFFER
from gli.common.sentences import listed
from gli.common.verdict_file import GO
from gli.config import environments
from gli.config.catalogue import Catalogue
from gli.config.check import Case
from gli.config.checklists import Item
from gli.config.environments import Environment
from gli.config.parts import Gate
from gli.gate import sign_offs, signing
from gli.gate.newest import Found, newest
from gli.gate.sign_offs import Signed
from gli.judge.outcome import Outcome
from gli.judge.verdict import VALID_FOR_HOURS, Verdict
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.release.git_refs import release

YES, REFUSED, CANNOT_TELL = 0, 1, 3


@dataclass(frozen=True)
class Decision:
    """Yes or no, as an exit code and one sentence."""

    code: int
    reason: str
    verdict: Verdict | None = None
    """The good verdict of the release, if there is one: its manifest names the commits that may be moved."""
    notes: tuple[str, ...] = ()
    """Further sentences for the reader."""
    found: Found | None = None
    """The newest verdict, whatever the decision, if it is as its run wrote it and signed as demanded."""


@dataclass(frozen=True)
class Evidence:
    """The newest verdict of one environment, and the present state that it is compared with."""

    environment: str
    phase: str
    verdict: Verdict | None
    found: Found | None = None
    """The file that the verdict was read from."""
    unplaced: str = ""
    """A sentence about a folder whose place in time is unknown, so the newest verdict is unknown; empty if none."""
    whole: bool = True
    """Whether the file is unchanged since the run wrote it."""
    signer: str | None = None
    """Whose valid signature the verdict has; None if it has none."""
    unlimited: str | None = None
    """Whose signature it has if the signer's line does not say what the key may sign; None if it has none such."""
    must_be_signed: bool = False
    cells: Sequence[str] = ()
    """The cells that the environment declares: a GO must be merged from a run of each."""
    age_s: float | None = None
    """How many seconds ago the run ended, by the time since this machine's start; None for a run of another machine."""
    demands: Gate = field(default_factory=Gate)
    """How much the verdict must cover."""
    cases: Sequence[Case] = ()
    """The cases that a run of this phase must report, by the present catalogue."""
    commits: Mapping[str, str] | None = field(default_factory=dict)
    """Repository to the present head of the environment's branch; None if a head could not be read."""


def judged(evidence: Evidence, *, catalogue_sha256: str, now: datetime) -> Decision:
    """Whether the gate may accept one verdict's GO. The reason is the first condition that does not hold."""
    verdict = evidence.verdict
    again = f"run pytest --env={evidence.environment} --phase={evidence.phase}"
    if evidence.cells:
        again = f"run every cell of {evidence.environment} for the phase {evidence.phase}, and join them with gli merge"
    if evidence.unplaced:
        return Decision(
            CANNOT_TELL, f"nobody knows which verdict for {evidence.environment} is the newest: {evidence.unplaced}"
        )
    if verdict is None:
        return Decision(CANNOT_TELL, f"there is no readable verdict for {evidence.environment}: {again}")
    what = f"the newest verdict for {evidence.environment} ({verdict.finished})"
    if verdict.environment != evidence.environment:
        return Decision(REFUSED, f"{what} was earned on {verdict.environment}: {again}")
    if not evidence.whole:
        return Decision(REFUSED, f"{what} was edited after the run wrote it: {again}")
    if verdict.replayed or verdict.phase not in (None, evidence.phase):
        return Decision(REFUSED, f"{what} is of a recorded run, or of the phase {verdict.phase}: {again}")
    if evidence.must_be_signed and evidence.signer is None and evidence.unlimited:
        line = f"the line of {evidence.unlimited} in the allowed signers says nothing of what the key may sign"
        how = (
            'write namespaces="gli-verdict" before the key of CI, and namespaces="gli-sign-off" before that of a person'
        )
        return Decision(REFUSED, f"{what} carries no signature that counts: {line}; {how}, then ask again")
    if evidence.must_be_signed and evidence.signer is None:
        return Decision(REFUSED, f"{what} carries no good signature of an allowed signer: {again} with a signing key")
    untried = [f"{p.name} {p.version or ''}".strip() for p in verdict.suite.plugins if not p.tried]
    if evidence.must_be_signed and untried:
        named = f"{what} was judged with plugins of pytest that are not known to leave results alone: {listed(untried)}"
        return Decision(REFUSED, f"{named}; leave them out with -p no:NAME, then {again}")
    if verdict.ends_by is not None and now <= clock.moment(verdict.ends_by):
        return Decision(CANNOT_TELL, f"{what} is of a run that may be under way until {verdict.ends_by}: wait for it")
    if verdict.is_held_by("incomplete"):
        return Decision(CANNOT_TELL, f"{what} is of a run that did not come to its end: {again}")
    if not verdict.go:
        first, more = next(iter(verdict.reasons), "without a reason"), len(verdict.reasons) - 1
        return Decision(REFUSED, f"{what} is NO-GO: {first}" + (f" (and {more} more reasons)" if more > 0 else ""))
    return (
        _of_every_cell(evidence, verdict, what, again)
        or _fresh(evidence, verdict, now, what, again)
        or _covered(evidence, verdict, what)
        or _same(evidence, verdict, catalogue_sha256, what, again)
    )


def _of_every_cell(evidence: Evidence, verdict: Verdict, what: str, again: str) -> Decision | None:
    joined = sorted(part.cell or "" for part in verdict.merged)
    if joined == sorted(evidence.cells) and verdict.cell is None:
        return None
    of = (
        f"of the cell {verdict.cell} alone"
        if verdict.cell
        else f"of the cells {listed(joined)}"
        if joined
        else "of one run"
    )
    declared = f"declares the cells {listed(sorted(evidence.cells))}" if evidence.cells else "declares no cells"
    return Decision(REFUSED, f"{what} is {of}, and {evidence.environment} {declared}: {again}")


def _fresh(evidence: Evidence, verdict: Verdict, now: datetime, what: str, again: str) -> Decision | None:
    if clock.moment(verdict.finished) > now + CLOCKS_DIFFER:
        return Decision(CANNOT_TELL, f"{what} is from the future; set the clocks right, then {again}")
    expires = min(clock.moment(verdict.expires), clock.moment(verdict.as_of) + timedelta(hours=VALID_FOR_HOURS))
    if now > expires:
        return Decision(CANNOT_TELL, f"{what} expired at {verdict.expires}: {again}")
    if evidence.age_s is not None and evidence.age_s < -CLOCKS_DIFFER.total_seconds():
        return Decision(CANNOT_TELL, f"{what} ended later than now, by the time since this machine's start: {again}")
    if evidence.age_s is not None and evidence.age_s > timedelta(hours=VALID_FOR_HOURS).total_seconds():
        hours = f"{evidence.age_s / 3600:.1f} hours ago"
        return Decision(CANNOT_TELL, f"{what} ended {hours}, and this machine's clock was set back: {again}")
    waived = [c for c in verdict.checks if c.outcome is Outcome.WAIVED]
    ended = [c.id for c in waived if c.waiver is None or now >= clock.moment(c.waiver.expires)]
    if ended:
        return Decision(REFUSED, f"{what} rests on a waiver that has expired, of {listed(ended)}: {again}")
    return None


def _covered(evidence: Evidence, verdict: Verdict, what: str) -> Decision | None:
    demands, found = evidence.demands, verdict.coverage
    percent = found.percent if found else 0
    where = f"[{evidence.environment}.gate]"
    if percent < demands.least_coverage_percent:
        least = f"{where} demands {demands.least_coverage_percent} %"
        left = f"gli checks --env {evidence.environment} says what is left out"
        return Decision(REFUSED, f"{what} judged {percent} % of the checks, and {least}; {left}")
    states = {line.part: line.state for line in found.parts} if found else {}
    lacking = [f"{part} ({states.get(part, 'left-out')})" for part in demands.verified_parts]
    lacking = [part for part in lacking if not part.endswith("(verified)")]
    if lacking:
        return Decision(REFUSED, f"{what} does not verify {listed(lacking)}, which {where} demands")
    return None


def _same(evidence: Evidence, verdict: Verdict, catalogue_sha256: str, what: str, again: str) -> Decision:
    if verdict.suite.catalogue_sha256 != catalogue_sha256:
        changed = "checklists/, environments.toml, the checks or gli itself have changed"
        return Decision(REFUSED, f"{what} was judged by another catalogue than now ({changed}): {again}")
    proven = {c.key for c in verdict.checks if c.outcome.green} - {c.key for c in verdict.checks if not c.outcome.green}
    unproven = [str(c.key) for c in evidence.cases if c.key not in proven]
    if unproven:
        return Decision(REFUSED, f"{what} says {GO} without the proof of {listed(unproven)}: {again}")
    if evidence.commits is None:
        return Decision(
            CANNOT_TELL,
            f"the heads of {evidence.environment}'s repositories can't be read now, so nobody knows what would land",
        )
    earned = {repository: part["commit"] for repository, part in verdict.manifest.items()}
    moved = sorted(r for r in {*earned, *evidence.commits} if earned.get(r) != evidence.commits.get(r))
    if moved:
        return Decision(REFUSED, f"{what} is of other commits than the heads now of {', '.join(moved)}: {again}")
    return Decision(YES, f"{what} is {GO}, of the {len(earned)} commits that are the heads now", verdict)


def signed(items: Iterable[Item], given: Sequence[Signed], environment: str) -> Decision:
    """Whether people confirmed every item that needs a sign-off."""
    refused = [s.record for s in given if s.record.result == "rejected"]
    if refused:
        first = refused[0]
        return Decision(REFUSED, f"{first.item} was rejected by {first.by}: {first.note}")
    by = sign_offs.by_item(given)
    pending = [(i, len(by.get(i.id, ()))) for i in items if len(by.get(i.id, ())) < i.people]
    if pending:
        waiting = ", ".join(f"{i.id} ({n} of {i.people})" for i, n in pending)
        how = f"gli sign {pending[0][0].id} --env {environment} --note ..."
        return Decision(CANNOT_TELL, f"pending, people have not signed for these commits: {waiting}; {how}")
    return Decision(YES, "people signed every item that needs them")


def heads(environment: Environment) -> Mapping[str, str] | None:
    """Repository to the head of the environment's branch; None if one of the heads can't be read."""
    if environment.git is None:
        return {}
    observatory = Observatory(environment)
    try:
        commits = observatory.wait(release).commits
    except Unobserved:
        return None
    finally:
        observatory.close()
    return commits if len(commits) == len(environment.repositories) else None


def decision(
    root: Path,
    catalogue: Catalogue,
    environment: Environment,
    phase: str,
    reports: Path,
    now: datetime,
    heads: Callable[[Environment], Mapping[str, str] | None] = heads,
) -> Decision:
    """Yes or no for an environment and phase. Before a deployment the environment's counterpart in production has to
    be ready too. Raises `UsageError` for a file of a sign-off or of allowed signers that can't be read.

    `heads` returns the present heads of the branches; a caller that knows them already passes its own function.
    """
    sides = [environment]
    if phase == "pre-deploy" and environment.other is not None and environment.other.production:
        sides.append(environments.load(root, environment.other.name))
    notes: list[str] = []
    found: list[Decision] = []
    genuine: Found | None = None
    for side in sides:
        evidence = gathered(root, catalogue, side, phase, reports, now, heads)
        if side is environment and evidence.whole and (evidence.signer or not evidence.must_be_signed):
            genuine = evidence.found
        found.append(judged(evidence, catalogue_sha256=catalogue.sha256, now=now))
        if found[-1].code == YES:
            notes.append(f"{side.name}: " + (f"signed by {evidence.signer}" if evidence.signer else "not signed"))
    notes += [f"waived: {c.key} ({c.waiver.owner}: {c.waiver.reason})" for c in _waived(found) if c.waiver]
    first = found[0]
    dropped: tuple[str, ...] = ()
    if first.verdict is not None and environment.counterpart is not None:
        given = sign_offs.read(root, environment, _commits(first.verdict), now)
        dropped = given.dropped
        checklist = catalogue.checklists[phase]
        items = [i for i in checklist.items.values() if checklist.signed_in(i, environment)]
        found.append(signed(items, given.counting, environment.name))
        asserted = ", asserted, not signed"
        notes += [f"{s.record.item}: {s.record.by}{'' if s.signer else asserted}" for s in given.counting]
    return _joined(found, notes, dropped, genuine)


def _commits(verdict: Verdict) -> dict[str, str]:
    """Repository to the commit that the verdict was earned on."""
    return {repository: part["commit"] for repository, part in verdict.manifest.items()}


def _joined(
    found: Sequence[Decision], notes: Sequence[str], dropped: tuple[str, ...], genuine: Found | None
) -> Decision:
    """One decision of several: yes if all are yes, else the no with the lowest code; the other reasons are notes."""
    against = [d for d in found if d.code != YES]
    if against:
        worst = min(against, key=lambda d: d.code)
        others = [d.reason for d in against if d is not worst]
        return Decision(worst.code, worst.reason, notes=(*others, *dropped), found=genuine)
    return Decision(YES, "; ".join(d.reason for d in found), found[0].verdict, (*notes, *dropped), genuine)


def _waived(decisions: Iterable[Decision]) -> Iterable[Any]:
    verdicts = [d.verdict for d in decisions if d.verdict is not None]
    return [c for v in verdicts for c in v.checks if c.outcome is Outcome.WAIVED]


def gathered(
    root: Path,
    catalogue: Catalogue,
    environment: Environment,
    phase: str,
    reports: Path,
    now: datetime,
    heads: Callable[[Environment], Mapping[str, str] | None],
) -> Evidence:
    """Gathers the evidence: the newest verdict of an environment for the phase, and the present state."""
    found, unplaced = None, ""
    try:
        found = newest(reports, environment.name, phase, now)
    except ValueError as e:
        unplaced = str(e)
    verdict = found.verdict if found else None
    allowed = environment.signers(root)
    signer, unlimited = None, None
    if found and allowed:
        required = environment.must_be_signed
        signer = signing.verdict_signer(found.path, found.content, allowed, required=required)
        if required and signer is None:
            unlimited = signing.signer(found.path, found.content, signing.VERDICT, allowed)
    return Evidence(
        environment=environment.name,
        phase=phase,
        found=found,
        verdict=verdict,
        unplaced=unplaced,
        whole=found is None or found.whole,
        signer=signer,
        unlimited=unlimited,
        must_be_signed=environment.must_be_signed,
        cells=tuple(environment.cells),
        age_s=_age_s(verdict) if verdict else None,
        demands=environment.gate,
        cases=[c for c in catalogue.cases_of_cells(environment, phase) if c.severity == "block"],
        commits=heads(environment) if verdict is not None and verdict.go else {},
    )


def _age_s(verdict: Verdict) -> float | None:
    if verdict.machine_s is None or verdict.machine != clock.machine():
        return None
    return clock.since_start() - verdict.machine_s
