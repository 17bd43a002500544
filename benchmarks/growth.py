"""How the cost of a run grows with the environment.

    .venv/bin/python benchmarks/growth.py [TIMES ...]

Asking: a sandbox plays an environment that is 1 and 10 times as large as GLI (`sandbox/scale.py`), and the suite
verifies it. The servers are those of GLI, behind many names.

Judging: a run of a sandbox is recorded once. Then its services, frontends and repositories, with the facts about them,
are copied: the environment is 1, 10 and 30 times as large. The suite judges each one with `--replay`: collection,
checks, verdict, reports. Facts of the whole environment (the network, the alarms) know nothing of the copies, so some
checks fail.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from measured import Cost, cost
from others import BIN, ROOT, Target, suite, target

from sandbox import scale
from sandbox.overlay import toml

ASKED = (1, 10)
TIMES = (1, 10, 30)


def grown(facts: Path, times: int, root: Path) -> None:
    """Makes a project in `root` whose staging is `times` as large as GLI's, with facts.jsonl of a run of it."""
    for name in (*scale.SUITE, "environments.toml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    tables = tomllib.loads((ROOT / "environments.toml").read_text())
    header, *records = map(json.loads, facts.read_text().splitlines())
    kinds = {kind: tables["stg"][kind] for kind in ("services", "frontends")}
    repositories: list[dict[str, Any]] = []
    copies = list(records)
    for number in range(2, times + 1):
        hosts = {h: h.replace(".", f"-{number}.", 1) for k in kinds.values() for t in k.values() for h in [_host(t)]}
        names = hosts | {n: f"{n}-{number}" for k in kinds.values() for n in k}
        names |= {r["name"]: f"{r['name']}-{number}" for r in tables["repositories"]}
        repositories += [{**r, "name": names[r["name"]]} for r in tables["repositories"]]
        for kind, targets in kinds.items():
            found = {names[n]: _renamed(t, hosts) | _repository(t, names) for n, t in targets.items()}
            header["overlay"].setdefault(kind, {}).update(found)
        of_targets = (r for r in records if r["target"] in names)
        copies += [_renamed(r, hosts) | {"target": names[r["target"]]} for r in of_targets]
    with (root / "environments.toml").open("a") as file:
        file.writelines(f"\n[[repositories]]\n{toml(r)}" for r in repositories)
    (root / "facts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in (header, *copies)))


def _host(table: dict[str, Any]) -> str:
    return str(table["url"]).split("/")[2]


def _renamed(document: dict[str, Any], hosts: dict[str, str]) -> dict[str, Any]:
    text = json.dumps(document)
    for old, new in hosts.items():
        text = text.replace(old, new)
    return dict(json.loads(text))


def _repository(table: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {"repository": names[table["repository"]]} if "repository" in table else {}


def judged(there: Target, times: int) -> tuple[int, Cost, int, int]:
    """(cases, cost, bytes of the page, lines on the terminal) of a replay of the environment, grown so many times."""
    root = there.folder / f"times-{times}"
    root.mkdir()
    grown(there.folder / "reports/sandbox/latest/facts.jsonl", times, root)
    command = [str(BIN / "pytest"), "--env=sandbox", "--replay=facts.jsonl"]
    found = cost(command, cwd=root, env=there.environment(), output=root / "output", fails=True)
    (folder,) = (root / "reports/sandbox").glob("replay-*")
    verdict = json.loads((folder / "verdict.json").read_text())
    if "incomplete" in {reason["kind"] for reason in verdict["held_by"]}:
        raise RuntimeError(f"{times} times: {verdict['reasons']}")
    lines = len((root / "output").read_text().splitlines())
    return len(verdict["checks"]), found, (folder / "report.html").stat().st_size, lines


def asked(times: int) -> str:
    """One line of the table: a run of an environment that is so many times as large, on real servers."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scale.grow(ROOT, root, times)
        with target(0, root) as there:
            before = there.of_aws()
            command = [str(BIN / "pytest"), "--env=sandbox", f"--report-dir={root}/reports"]
            found = cost(command, cwd=root, env=there.environment(), output=root / "output", fails=True)
            aws = sum(there.of_aws().values()) - sum(before.values())
        (run,) = (p.parent for p in root.glob("reports/sandbox/*/verdict.json") if not p.parent.is_symlink())
        verdict = json.loads((run / "verdict.json").read_text())
        page = run / "report.html"
        size = f"{page.stat().st_size / 1e6:.1f} MB" if page.exists() else "none"
        lines = len((root / "output").read_text().splitlines())
    cases, counts = len(verdict["checks"]), verdict["counts"]
    said = verdict["verdict"] + "".join(f", {n} {what}" for what, n in counts.items() if what in _NOT_GREEN)
    figures = f"{found.wall_s:.1f} s | {found.cpu_s:.1f} s | {found.memory_mb:.0f} MB | {aws}"
    return f"| {times} times | {cases} | {figures} | {size} | {lines} lines | {said} |"


_NOT_GREEN = ("failed", "unknown", "blocked", "missing")


def asking(times: Sequence[int] = ASKED) -> Iterator[str]:
    """What asking costs, as the lines of a Markdown table."""
    yield "| | cases | wall | CPU | memory | calls of AWS | page | terminal | verdict |"
    yield "|---|---|---|---|---|---|---|---|---|"
    yield from map(asked, times)


def table(times: Sequence[int] = TIMES) -> Iterator[str]:
    """What judging costs, as the lines of a Markdown table."""
    yield "| | cases | wall | CPU | memory | page | terminal |"
    yield "|---|---|---|---|---|---|---|"
    with target(0) as there:
        suite()(there)
        for n in times:
            cases, found, page, lines = judged(there, n)
            figures = f"{found.wall_s:.1f} s | {found.cpu_s:.1f} s | {found.memory_mb:.0f} MB"
            yield f"| {n} times | {cases} | {figures} | {page / 1e6:.1f} MB | {lines} lines |"


def main() -> None:
    times = tuple(map(int, sys.argv[1:]))
    for line in chain(asking(times or ASKED), [""], table(times or TIMES)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
