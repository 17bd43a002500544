"""How the cost of judging grows with the environment.

    .venv/bin/python benchmarks/growth.py [TIMES ...]

A run of a sandbox is recorded once. Then its services, frontends and repositories, with the facts about them, are
copied: the environment is 1, 10 and 30 times as large. The suite judges each one with `--replay`: collection, checks,
verdict, reports. Facts of the whole environment (the network, the alarms) know nothing of the copies, so some checks
fail. What it costs to ask a larger environment is not measured here.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measured import Cost, cost
from others import BIN, ROOT, Target, suite, target

TIMES = (1, 10, 30)
SUITE = ("tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini", "environments.toml")


def grown(facts: Path, times: int, root: Path) -> None:
    """Makes a project in `root` whose staging is `times` as large as GLI's, with facts.jsonl of a run of it."""
    for name in SUITE:
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
        file.writelines(f"\n[[repositories]]\n{_toml(r)}" for r in repositories)
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


def _toml(table: dict[str, Any]) -> str:
    """The table as TOML. A string or a list of strings is written alike in JSON and in TOML."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {value(v)}" for k, v in one.items()) + "}"
        return json.dumps(one, ensure_ascii=False)

    return "".join(f"{json.dumps(k)} = {value(v)}\n" for k, v in table.items())


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


def table(times: Sequence[int] = TIMES) -> Iterator[str]:
    """The figures as the lines of a Markdown table."""
    yield "| | cases | wall | CPU | memory | page | terminal |"
    yield "|---|---|---|---|---|---|---|"
    with target(0) as there:
        suite()(there)
        for n in times:
            cases, found, page, lines = judged(there, n)
            figures = f"{found.wall_s:.1f} s | {found.cpu_s:.1f} s | {found.memory_mb:.0f} MB"
            yield f"| {n} times | {cases} | {figures} | {page / 1e6:.1f} MB | {lines} lines |"


def main() -> None:
    for line in table(tuple(map(int, sys.argv[1:])) or TIMES):
        print(line, flush=True)


if __name__ == "__main__":
    main()
