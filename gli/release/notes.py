"""Release notes and the four DORA figures: the content of a release, and how releases went in a span of time.

Both are read from the tags of operations, and count only operations that have landed (see `gli.release.landed`).

Source of truth: the documents in the tags, the commits of the repositories; for the figures DORA's definitions
(dora.dev/guides/dora-metrics-four-keys).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gli.common.clock import moment
from gli.git.command import shown
from gli.git.tags import is_deployment
from gli.observe.release.migrations import in_paths
from gli.release.landed import Documents, landed, said_by_tags
from gli.release.mirror import Mirror, Refs
from gli.release.plan import Refused
from gli.release.side_by_side import answers, on_each

Words = Mapping[str, str]
_WORDS: Mapping[str, Words] = {
    "en": {
        "title": "Release",
        "by": "released by",
        "approved": "approved by",
        "verdict": "verdict",
        "reason": "reason",
        "commits": "Commits",
        "migrations": "Migrations",
        "same": "Unchanged",
        "since": "since",
        "frequency": "Deployment frequency",
        "deployments": "deployments",
        "week": "a week",
        "lead": "Lead time for changes (median, commit to production)",
        "failures": "Change failure rate (rolled back)",
        "restore": "Time to restore (median, deployment to rollback)",
        "none": "none",
    },
    "ko": {
        "title": "릴리스",
        "by": "배포한 사람:",
        "approved": "승인한 사람:",
        "verdict": "판정",
        "reason": "이유",
        "commits": "커밋",
        "migrations": "마이그레이션",
        "same": "변경 없음",
        "since": "이후",
        "frequency": "배포 빈도",
        "deployments": "회 배포",
        "week": "회/주",
        "lead": "변경 리드 타임(중앙값, 커밋에서 운영까지)",
        "failures": "변경 실패율(롤백됨)",
        "restore": "복구 시간(중앙값, 배포에서 롤백까지)",
        "none": "없음",
    },
}


def notes(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], tag: str, language: str) -> str:
    """The notes of the release with this tag, as Markdown. Raises `Refused` for a tag that no operation made."""
    said = said_by_tags(refs).get(tag)
    if said is None or not said.get("moves"):
        raise Refused(f"{tag} is no tag that an operation has made; gli log lists them")
    if tag not in landed(mirrors, refs, {tag: said}):
        raise Refused(f"{tag} is of an operation that was undone; it brought nothing")
    words, moves = _WORDS[language], {n: m for n, m in said["moves"].items() if n in mirrors}
    brought = answers(on_each((mirrors[n] for n in moves), lambda mirror: _brought(mirror, moves[mirror.name])))
    lines = [f"# {words['title']} {tag}", "", f"{said['at']}, {words['by']} {said['actor']}"]
    if said.get("approved_by") not in (None, said["actor"]):
        lines[-1] += f", {words['approved']} {said['approved_by']}"
    if finished := (said.get("verdict") or {}).get("finished"):
        lines[-1] += f", {words['verdict']} {finished}"
    if said.get("reason"):
        lines += ["", f"{words['reason']}: {said['reason']}"]
    migrations = [f"- {name}: {one}" for name, (_, added) in brought.items() for one in added]
    if migrations:
        lines += ["", f"## {words['migrations']}", "", *migrations]
    lines += ["", f"## {words['commits']}"]
    same = [name for name, (commits, _) in brought.items() if not commits]
    for name, (commits, _) in brought.items():
        if commits:
            lines += ["", f"### {name}", "", *commits]
    if same:
        lines += ["", f"{words['same']}: {', '.join(same)}"]
    return "\n".join(lines) + "\n"


def figures(
    mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], form: str, days: int, now: datetime, language: str
) -> str:
    """The four DORA figures of the last days, as Markdown."""
    every = landed(mirrors, refs, said_by_tags(refs))
    begin, words = now - timedelta(days=days), _WORDS[language]
    deployed = {t: s for t, s in every.items() if is_deployment(t, form) and s.get("moves") and _at(s) >= begin}
    back = _rolled_back(deployed, every)
    lead = [span for spans in _leads(mirrors, deployed).values() for span in spans]
    restored = [_at(every[rollback]) - _at(deployed[tag]) for tag, rollback in back.items()]
    rate = f"{100 * len(back) / len(deployed):.0f} % ({len(back)}/{len(deployed)})" if deployed else words["none"]
    frequency = f"{len(deployed)} {words['deployments']}, {len(deployed) * 7 / days:.1f} {words['week']}"
    return "\n".join(
        (
            f"# DORA, {begin:%Y-%m-%d} {words['since']}" if language == "ko" else f"# DORA, since {begin:%Y-%m-%d}",
            "",
            f"- {words['frequency']}: {frequency}",
            f"- {words['lead']}: {_median(lead) or words['none']}",
            f"- {words['failures']}: {rate}",
            f"- {words['restore']}: {_median(restored) or words['none']}",
            "",
        )
    )


def _brought(mirror: Mirror, move: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The commits that a branch gained, without merges, and the migrations among their files."""
    if move["old"] == move["new"]:
        return [], []
    listing = mirror.git(
        "rev-list", "--no-commit-header", "--no-merges", "--format=- `%h` %s (%an)", move["new"], f"^{move['old']}"
    )
    added = set(mirror.files(move["tree"])) - set(mirror.files(move["old_tree"]))
    return [shown(line) for line in listing.splitlines()], [f"{app}.{one}" for app, one in sorted(in_paths(added))]


def _rolled_back(deployed: Documents, every: Documents) -> dict[str, str]:
    """Each deployment that a rollback removed, with the first rollback that removed it."""
    rollbacks = sorted((t for t, s in every.items() if s.get("held")), key=lambda tag: _at(every[tag]))
    found = {}
    for tag, said in deployed.items():
        later = (r for r in rollbacks if every[r]["held"] == said.get("trees") and _at(every[r]) >= _at(said))
        if (first := next(later, None)) is not None:
            found[tag] = first
    return found


def _leads(mirrors: Mapping[str, Mirror], deployed: Documents) -> dict[str, list[timedelta]]:
    """For each repository: the time of each commit from its date to its deployment."""

    def of_one(mirror: Mirror) -> list[timedelta]:
        spans = []
        for said in deployed.values():
            move = said["moves"].get(mirror.name)
            if move is None or move["old"] == move["new"]:
                continue
            asked = ("rev-list", "--no-commit-header", "--no-merges", "--format=%ct", move["new"], f"^{move['old']}")
            dates = (datetime.fromtimestamp(int(at), UTC) for at in mirror.git(*asked).split())
            spans += [_at(said) - date for date in dates]
        return spans

    return answers(on_each(mirrors.values(), of_one))


def _at(said: Mapping[str, Any]) -> datetime:
    return moment(str(said["at"]))


def _median(spans: Sequence[timedelta]) -> str:
    """The median as `2.5 h` or `3.1 d`; empty if there is no value."""
    if not spans:
        return ""
    hours = statistics.median(span.total_seconds() for span in spans) / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"
