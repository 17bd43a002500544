"""Ways to get a yes of the gate, or a GO of a merge, out of folders, files, refs and runs that somebody else wrote."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from judge_rig import HEADS, LINE, NOW, case, decided, verdict
from test_merge import TWO, merged, run_of, stg

from gli.common.clock import rfc3339
from gli.common.verdict_file import GO, digest
from gli.gate.gate import YES, newest
from gli.git import refs
from gli.judge.outcome import Outcome
from gli.judge.verdict import Joined, Reason, Verdict

EIGHT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
GREEN = LINE | {"outcome": "passed"}
MANIFEST = {r: {"branch": "stg", "commit": c, "tree": "t"} for r, c in HEADS.items()}
AGAINST = {"reasons": ["x"], "held_by": [{"kind": "failed", "message": "x"}]}

ONE_VERDICT: dict[str, dict[str, Any]] = {
    "a GO with a reason against it": {"reasons": ["api-health[api] failed: no"]},
    "a GO that a failure holds": AGAINST,
    "a GO of a part of the cases": AGAINST | {"held_by": [{"kind": "partial", "message": "x"}]},
    "a GO by a clock that was behind": AGAINST | {"held_by": [{"kind": "clock", "message": "x"}]},
    "a GO with a file of its own": AGAINST | {"held_by": [{"kind": "suite", "message": "x"}]},
    "a GO of a recorded run": {"replayed": True},
    "a GO of the on-call run": {"phase": "on-call"},
    "a GO of a paused deployment": {"phase": "paused"},
    "a GO of another phase": {"phase": "post-deploy"},
    "a schema that is true": {"schema": True},
    "a schema with a point": {"schema": 1.0},
    "a schema that is a text": {"schema": "1"},
    "a schema of the future": {"schema": 2},
    "the word go": {"verdict": "go"},
    "the environment in capitals": {"environment": "STG"},
    "the environment with a blank": {"environment": "stg "},
    "a check in capitals": {"checks": [GREEN | {"id": "ONE"}]},
    "a target in capitals": {"checks": [GREEN | {"target": "API"}]},
    "a target with a blank": {"checks": [GREEN | {"target": "api "}]},
    "an outcome in capitals": {"checks": [GREEN | {"outcome": "PASSED"}]},
    "a waived failure without its waiver": {"checks": [LINE | {"outcome": "waived"}]},
    "a commit in capitals": {"manifest": {r: p | {"commit": p["commit"].upper()} for r, p in MANIFEST.items()}},
    "the beginning of a commit": {"manifest": {r: p | {"commit": p["commit"][:12]} for r, p in MANIFEST.items()}},
    "a repository in capitals": {"manifest": {r.upper(): p for r, p in MANIFEST.items()}},
    "a repository left out": {"manifest": {"app": MANIFEST["app"]}},
    "an end at 24:00": {"finished": "2026-01-30T24:00:00Z"},
    "an end in a leap second": {"finished": "2026-01-31T08:00:60Z"},
    "an end in a zone of almost a day": {"finished": "2026-01-31T08:00:03+23:59"},
    "an end beyond the calendar": {"finished": "9999-12-31T23:59:59-23:59"},
    "an expiry before the end": {"expires": "2026-01-31T07:00:00.000Z"},
    "a GO that may be under way": {"ends_by": "2026-01-31T09:30:00.000Z"},
    "a GO of one cell": {"cell": "seoul"},
}
"""What somebody writes into a verdict, and seals again."""


@pytest.mark.parametrize("way", ONE_VERDICT)
def test_no_verdict_that_was_written_by_hand_is_a_yes(way: str) -> None:
    document = verdict(checks=[GREEN]).document()
    assert decided(Verdict.of(document), cases=[case("one")]).code == YES
    try:
        of = Verdict.of(document | ONE_VERDICT[way])
    except ValueError:
        return  # the gate names the folder, and can't tell
    assert decided(of, cases=[case("one")]).code != YES


def test_a_verdict_that_ends_later_than_now_is_no_yes_whatever_the_clock_says() -> None:
    assert decided(verdict(), age_s=-60.0).code == YES
    assert decided(verdict(), age_s=-600.0).code != YES


def written(reports: Path, run: str, **changes: Any) -> str:
    """A run's verdict on disk, sealed as a run seals it; returns its digest."""
    document = verdict(run=run, **changes).document()
    document["digest"] = digest(document)
    (reports / "stg" / run).mkdir(parents=True, exist_ok=True)
    (reports / "stg" / run / "verdict.json").write_text(json.dumps(document))
    return str(document["digest"])


def resting(reports: Path, of: str, at: datetime = EIGHT, **changes: Any) -> None:
    """A verdict that claims to be merged of the NO-GO."""
    when = rfc3339(at)
    part = {"cell": "a", "run": "red", "digest": of, "verdict": "NO-GO", "vantage": "vpc", "machine": "m"}
    part |= {"account": None, "region": None, "started": when, "finished": when, "signer": None}
    written(reports, "merged", merged=[Joined.model_validate(part)], **changes)


Hide = Callable[[Path, str], object]


def other_content(change: Callable[[str], bytes]) -> Hide:
    def hide(reports: Path, _: str) -> None:
        file = reports / "stg/red/verdict.json"
        file.write_bytes(change(file.read_text()))

    return hide


def instead_of_the_file(make: Callable[[Path], object]) -> Hide:
    def hide(reports: Path, _: str) -> None:
        file = reports / "stg/red/verdict.json"
        file.unlink()
        make(file)

    return hide


def moved_and_linked(reports: Path, _: str) -> None:
    (reports / "stg/red").rename(reports / "elsewhere")
    (reports / "stg/red").symlink_to(reports / "elsewhere")


def linked_above(reports: Path, _: str) -> None:
    (reports / "stg").rename(reports / "real")
    (reports / "stg").symlink_to("real")


def only_a_link_that_leads_nowhere(reports: Path, _: str) -> None:
    (reports / "stg/red").rename(reports / "elsewhere")
    (reports / "stg/20260131T083000.000-1").symlink_to("nowhere")


HIDING: dict[str, Hide] = {
    "a merge of another phase that rests on it": lambda r, of: resting(r, of, phase="post-deploy"),
    "a merge of a recorded run": lambda r, of: resting(r, of, replayed=True),
    "a merge that is older than its run": lambda r, of: resting(r, of, EIGHT - timedelta(hours=1)),
    "a merged NO-GO that is older than its run": lambda r, of: resting(
        r, of, EIGHT - timedelta(hours=1), verdict="NO-GO", reasons=("x",)
    ),
    "its folder moved, and a link": moved_and_linked,
    "a link to the folder of all runs": linked_above,
    "a dangling link with the name of a run": only_a_link_that_leads_nowhere,
    "its folder as latest": lambda r, _: (r / "stg/red").rename(r / "stg/latest"),
    "its folder hidden": lambda r, _: (r / "stg/red").rename(r / "stg/.red"),
    "a link to the GO": instead_of_the_file(lambda f: f.symlink_to(f.parent.parent / "go/verdict.json")),
    "a pipe": instead_of_the_file(os.mkfifo),
    "a folder": instead_of_the_file(Path.mkdir),
    "a mark of the order of bytes": other_content(lambda text: b"\xef\xbb\xbf" + text.encode()),
    "UTF-16": other_content(lambda text: text.encode("utf-16")),
    "the word GO before it": other_content(lambda text: b'{"verdict": "GO",' + text[1:].encode()),
    "a phase in capitals": other_content(lambda text: text.replace('"phase": null', '"phase": "ON-CALL"').encode()),
    "a number of 5,000 digits": other_content(lambda text: (f'{{"more": {"9" * 5000},' + text[1:]).encode()),
    "an infinite number": other_content(lambda text: text.replace('"machine_s": null', '"machine_s": 1e999').encode()),
}
"""What somebody does to the later of two verdicts, a NO-GO."""


@pytest.mark.parametrize("way", HIDING)
def test_a_later_no_go_is_not_hidden(tmp_path: Path, way: str) -> None:
    written(tmp_path, "go", finished=rfc3339(EIGHT))
    later = rfc3339(EIGHT + timedelta(minutes=30))
    of = written(tmp_path, "red", verdict="NO-GO", reasons=("x",), finished=later)
    HIDING[way](tmp_path, of)
    try:
        found = newest(tmp_path, "stg", "pre-deploy", NOW)
    except ValueError:
        return  # the gate names the folder, and can't tell
    assert found is not None and not (found.verdict.go and found.verdict.run == "go")


def without(verdict: Verdict, check: str) -> Verdict:
    return verdict.model_copy(update={"reported": tuple(r for r in verdict.reported if r.check != check)})


def saying(verdict: Verdict, case: str, /, **changes: Any) -> Verdict:
    said = tuple(r.but(**changes) if r.check == case else r for r in verdict.reported)
    return verdict.model_copy(update={"reported": said})


LOST = Reason(kind="missing", labels=("api-health[api]",), message="1 of 424 cases did not report")
A_RUN: dict[str, Callable[[Verdict], Verdict]] = {
    "did not report a case that another cell reported": lambda v: without(v, "api-health"),
    "lost a case, and says so": lambda v: without(v, "api-health").model_copy(
        update={"verdict": "NO-GO", "reasons": (str(LOST.message),), "held_by": (LOST,)}
    ),
    "reported nothing": lambda v: v.model_copy(update={"reported": ()}),
    "is NO-GO for a reason without a kind": lambda v: v.model_copy(
        update={"verdict": "NO-GO", "reasons": ("x",), "held_by": ()}
    ),
    "accepted a failure itself": lambda v: saying(v, "api-health", outcome=Outcome.WAIVED),
    "names a check in capitals": lambda v: saying(v, "api-health", check="API-HEALTH"),
    "names its cell in capitals": lambda v: v.model_copy(update={"cell": "World"}),
    "failed where it says that it can't see": lambda v: saying(
        v, "api-health", outcome=Outcome.FAILED, cause="vantage"
    ),
    "has other trees": lambda v: v.model_copy(
        update={"manifest": {r: {**p, "tree": "c" * 40} for r, p in v.manifest.items()}}
    ),
    "has a repository more": lambda v: v.model_copy(
        update={"manifest": {**v.manifest, "more": next(iter(v.manifest.values()))}}
    ),
}
"""What is odd with the run of one of two cells."""


@pytest.mark.parametrize("way", A_RUN)
def test_no_odd_run_of_a_cell_is_merged_into_a_go(way: str) -> None:
    environment = stg(TWO)
    world, seoul = (run_of(environment, cell) for cell in TWO)
    assert merged(environment, world, seoul).verdict == GO
    assert merged(environment, A_RUN[way](world), seoul).verdict != GO


def test_a_merged_verdict_is_no_run_of_a_cell() -> None:
    environment = stg(TWO)
    world, seoul = (run_of(environment, cell) for cell in TWO)
    assert merged(environment, merged(environment, world, seoul), seoul).verdict != GO


@pytest.mark.parametrize("end", ["\u2028x", "\u2029", "\x85x", "\u2003"], ids=ascii)
def test_no_branch_takes_the_name_of_another(tmp_path: Path, end: str) -> None:
    """git lets these signs stand in names, and Python breaks lines at most of them."""
    git = ["git", "--git-dir", str(tmp_path)]
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True)
    who = {**os.environ, **{f"GIT_{r}_{w}": "a@b.c" for r in ("AUTHOR", "COMMITTER") for w in ("NAME", "EMAIL")}}
    tree = subprocess.run([*git, "mktree"], input="", capture_output=True, text=True, check=True).stdout.strip()
    for branch in ("stg", f"stg{end}"):
        made = subprocess.run(
            [*git, "commit-tree", "-m", ascii(branch), tree], env=who, capture_output=True, text=True, check=True
        )
        subprocess.run([*git, "update-ref", f"refs/heads/{branch}", made.stdout.strip()], check=True)
    listed = subprocess.run(["git", "ls-remote", str(tmp_path)], capture_output=True, check=True).stdout.decode()
    found = refs.listing(refs.listed(listed)).branches
    head = subprocess.run([*git, "rev-parse", "refs/heads/stg"], capture_output=True, text=True, check=True)
    assert (found["stg"], len(found)) == (head.stdout.strip(), 2)
