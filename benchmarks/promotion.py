"""Pull and promotion of many repositories, compared with the alternatives, in one run.

    .venv/bin/pip install -r requirements/benchmarks.txt      # gita and mu; mr is the Debian package myrepos
    .venv/bin/python benchmarks/promotion.py [ROUNDS]

Each tool has its own clones; for pulls, of the same remotes. In every round each remote gets a new commit on main, and
each tool pulls in turn; then each pulls again, with nothing new. All tools use the same connection: local, or an ssh
that waits 250 ms before it connects. After every turn every branch must be at the right commit. The results are the
medians of wall seconds, with the ratio to `gli`. A tool that is not installed is named and left out.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

BIN = Path(sys.executable).parent
DELAY_MS = 250
SSH = """\
#!/bin/sh
# What git takes for ssh: waits as a distant host would, then runs what was asked for.
sleep "$BENCHMARK_DELAY"
for command; do :; done
exec sh -c "$command"
"""
LOOP = 'for clone in */; do git -C "$clone" pull --quiet --ff-only || exit 1; done'
SEED = """\
set -e
for clone in */; do
    cd "$clone"
    git checkout --quiet $1 && git pull --quiet
    git checkout --quiet $2 && git pull --quiet
    git merge --quiet --no-edit $1
    git push --quiet origin $2
    [ $2 = stg ] || { git tag "$3" && git push --quiet origin "$3"; }
    cd ..
done
"""
TO_MAIN = """\
import json
from pathlib import Path
from gli.cli import entry
entry.spare_garbage()
from gli.release import settings
from gli.release.promote import Evidence, promote
from gli.release.session import Approval, session
evidence = Evidence(json.loads(Path("manifest.json").read_text()), {"finished": "2026-01-31T09:00:00.000Z"})
yes = Approval("Second Person <second@glibiz.com>")
with session(settings.read(Path.cwd(), "stg"), print) as opened:
    promote(opened, "stg", "main", approve=lambda request: yes, gate=lambda heads: evidence, frozen=lambda: None)
"""
"""What `gli promote stg main` runs, with a gate and a person who say yes: a loop has neither."""
_AUTHOR = "GLI Developer <developer@glibiz.com>"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[receive]\n\tautogc = false\n[gc]\n\tauto = 0\n"


@dataclass(frozen=True)
class Remotes:
    """The remotes of one case, and how to connect to them."""

    folder: Path
    names: Sequence[str]
    delay_ms: int

    def bare(self, name: str) -> Path:
        return self.folder / f"{name}.git"

    @property
    def template(self) -> str:
        """The remotes' address, as in git.remote of environments.toml."""
        return f"{'ssh://distant' if self.delay_ms else ''}{self.folder}/{{repository}}.git"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of every tool. The user's configuration of git is ignored."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "GLI_", "PYTHON"))}
        home = self.folder.parent
        return own | {
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": str(home / "ssh"),
            "BENCHMARK_DELAY": str(self.delay_ms / 1000),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def make(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._make, self.names))

    def _make(self, name: str) -> None:
        bare = self.bare(name)
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (bare / folder).mkdir(parents=True)
        (bare / "HEAD").write_text("ref: refs/heads/main\n")
        (bare / "config").write_text(_CONFIG)
        start = "".join(_commit("main", f"Commit {n}", f"file{n % 20}.txt", str(n)) for n in range(40))
        ahead = "".join(f"reset refs/heads/{branch}\nfrom refs/heads/main\n\n" for branch in ("stg", "dev"))
        self._import(name, start + ahead)

    def commit(self, branch: str, text: str) -> None:
        """Add a commit to a branch of each remote."""
        with ThreadPoolExecutor(4) as pool:
            stream = _commit(branch, f"Work {text}", f"{branch}.txt", text, f"from refs/heads/{branch}^0\n")
            list(pool.map(lambda name: self._import(name, stream), self.names))

    def _import(self, name: str, stream: str) -> None:
        subprocess.run(
            ["git", f"--git-dir={self.bare(name)}", "fast-import", "--quiet"], input=stream.encode(), check=True
        )

    def heads(self, branch: str) -> dict[str, str]:
        return {name: _head(self.bare(name), branch) for name in self.names}


def _commit(branch: str, message: str, file: str, text: str, start: str = "") -> str:
    head = f"commit refs/heads/{branch}\ncommitter {_AUTHOR} {int(time.time())} +0000\n"
    body = f"data {len(message)}\n{message}\n{start}M 100644 inline {file}\ndata {len(text) + 1}\n{text}\n\n"
    return head + body


def _head(repository: Path, branch: str) -> str:
    command = ["git", "-C", str(repository), "rev-parse", f"refs/heads/{branch}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Way:
    """One tool, in its own workspace."""

    name: str
    workspace: Path
    environment: Mapping[str, str]
    command: Sequence[str]

    def seconds(self, *more: str) -> float:
        """Run the tool; returns the seconds it took. Raises `RuntimeError` if it fails."""
        start = time.perf_counter()
        done = subprocess.run(
            [*self.command, *more],
            cwd=self.workspace,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{self.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return took


def cloned(remotes: Remotes, workspace: Path, branches: Sequence[str] = ("main",)) -> None:
    """Clone every remote without the connection's delay, then set the same remote address as the others use."""
    workspace.mkdir(parents=True)

    def clone(name: str) -> None:
        target = workspace / name
        command = ["git", "clone", "--quiet", "--template=", "--branch=main", remotes.bare(name), target]
        subprocess.run(command, check=True)
        for branch in branches[1:]:
            subprocess.run(["git", "-C", target, "branch", "--quiet", branch, f"origin/{branch}"], check=True)
        address = remotes.template.replace("{repository}", name)
        for key, value in (("remote.origin.url", address), ("user.name", "A"), ("user.email", "a@glibiz.com")):
            subprocess.run(["git", "-C", target, "config", key, value], check=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(clone, remotes.names))


def project(remotes: Remotes, folder: Path, workspace: str) -> None:
    """The environments.toml that `gli` reads."""
    tables = "".join(f'[[repositories]]\nname = "{name}"\n' for name in remotes.names)
    git = f'remote = "{remotes.template}"\nworkspace = "{workspace}"\nlog_repository = "{remotes.names[0]}"\n'
    (folder / "environments.toml").write_text(f'{tables}[stg]\nbranch = "stg"\n[stg.git]\n{git}')


def _remotes(root: Path, count: int, delay_ms: int) -> Remotes:
    """Create this number of remotes in a folder, and the ssh that connects to them."""
    remotes = Remotes(root / "remotes", [f"repository{n:02}" for n in range(count)], delay_ms)
    remotes.make()
    (root / "ssh").write_text(SSH)
    (root / "ssh").chmod(0o755)
    return remotes


def pulling(remotes: Remotes, root: Path) -> list[Way]:
    """Every installed tool that can pull, with its workspace and configuration."""
    found = []
    for name, program in (("gli", "gli"), ("gita", "gita"), ("mu-repo", "mu"), ("mr -j8", "mr"), ("loop", "sh")):
        if shutil.which(program, path=remotes.environment["PATH"]) is None:
            print(f"{name} is not installed: left out", flush=True)
            continue
        workspace = root / name.replace(" ", "")
        cloned(remotes, workspace)
        environment = remotes.environment
        if name == "gli":
            project(remotes, workspace, ".")
            command = [program, "pull", "main"]
        elif name == "gita":
            environment["GITA_PROJECT_HOME"] = str(root / "gita-configuration")
            environment["XDG_CONFIG_HOME"] = str(root / "gita-configuration")
            subprocess.run(
                ["gita", "add", *remotes.names], cwd=workspace, env=environment, check=True, capture_output=True
            )
            command = ["gita", "pull"]
        elif name == "mu-repo":
            register = ["mu", "register", *remotes.names]
            subprocess.run(register, cwd=workspace, env=environment, check=True, capture_output=True)
            command = ["mu", "pull"]
        elif name == "mr -j8":
            entries = "".join(f"[{workspace / n}]\ncheckout = true\n\n" for n in remotes.names)
            (workspace / ".mrconfig").write_text(entries)
            command = ["mr", "--trust-all", "-c", ".mrconfig", "-j8", "update"]
        else:
            command = ["sh", "-c", LOOP]
        found.append(Way(name, workspace, environment, command))
    return found


def pulls(count: int, delay_ms: int, rounds: int, root: Path) -> dict[str, dict[str, list[float]]]:
    """Measure one case; returns {new or nothing new: {tool: seconds of each round}}."""
    remotes = _remotes(root, count, delay_ms)
    ways = pulling(remotes, root)
    seen: dict[str, dict[str, list[float]]] = {"one commit": {}, "nothing new": {}}
    for number in range(-1, rounds):
        remotes.commit("main", f"{number}")
        wanted = remotes.heads("main")
        for what in seen:
            for way in _turn(ways, number):
                took = way.seconds()
                there = {name: _head(way.workspace / name, "main") for name in remotes.names}
                if there != wanted:
                    raise RuntimeError(f"{way.name} did not pull everything")
                if number >= 0:  # the first round fills caches
                    seen[what].setdefault(way.name, []).append(took)
    return seen


def promotions(way: tuple[str, str], delay_ms: int, rounds: int, root: Path) -> dict[str, list[float]]:
    """Measure promotions of eight repositories, with a tag on main; returns {tool: seconds of each round}.

    Each tool has its own remotes. `gli moved` is the time until the last branch has moved; `gli` is the whole process.
    """
    source, target = way
    who = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@glibiz.com"}
    who |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in who.items()}
    promote = [sys.executable, "-c", TO_MAIN] if target == "main" else ["gli", "promote", source, target, "--yes"]
    commands = {"gli": promote, "loop": ["sh", "-c", SEED, "sh", source, target]}
    ways, theirs = [], {}
    for name, command in commands.items():
        remotes = _remotes(root / name, 8, delay_ms)
        workspace = root / name / "workspace"
        ways.append(Way(name, workspace, remotes.environment | who, command))
        theirs[name] = remotes
        if name == "loop":
            cloned(remotes, workspace, (target, source))
        else:
            workspace.mkdir()
            project(remotes, workspace, "none")
    seen: dict[str, list[float]] = {}
    for number in range(-1, rounds):
        for one in _turn(ways, number):
            remotes = theirs[one.name]
            remotes.commit(source, f"{number}")
            commits = remotes.heads(source)
            manifest = {n: {"commit": c, "tree": _tree(remotes.bare(n), source)} for n, c in commits.items()}
            (one.workspace / "manifest.json").write_text(json.dumps(manifest))
            started = time.time()
            took = one.seconds(*([f"release-{number}"] if one.name == "loop" else []))
            trees = [{n: _tree(remotes.bare(n), branch) for n in remotes.names} for branch in way]
            if trees[0] != trees[1]:
                raise RuntimeError(f"{one.name} did not promote everything")
            if number >= 0:  # the first round fills caches
                seen.setdefault(one.name, []).append(took)
                if one.name == "gli":
                    seen.setdefault("gli moved", []).append(_decided(one.workspace) - started)
    return seen


def _decided(folder: Path) -> float:
    """The time at which the newest operation had moved the last branch, from its journal: seconds since 1970."""
    newest = max((folder / ".release" / "journal").iterdir())
    events = [json.loads(line) for line in newest.read_text().splitlines()]
    return datetime.fromisoformat(next(e["at"] for e in events if e["event"] == "decided")).timestamp()


def _tree(repository: Path, branch: str) -> str:
    command = ["git", "-C", str(repository), "rev-parse", f"refs/heads/{branch}^{{tree}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _turn(ways: list[Way], number: int) -> list[Way]:
    """The tools in the order of this round: each round begins with another tool."""
    start = number % len(ways)
    return ways[start:] + ways[:start]


def told(title: str, seen: Mapping[str, Sequence[float]]) -> None:
    """Format one table."""
    ours = statistics.median(seen["gli"])
    print(f"\n{title}")
    for name, seconds in sorted(seen.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(seconds)
        print(
            f"  {name:9}  {median:7.3f} s  {median / ours:5.2f}    {min(seconds):.3f} to {max(seconds):.3f}", flush=True
        )


def _in_a_folder(work: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="gli-benchmark-") as folder:
        work(Path(folder))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{rounds} rounds, {os.cpu_count()} cores; median, ratio to gli, range")
    for count in (8, 64):
        for delay_ms in (0, DELAY_MS):

            def pulled(root: Path, count: int = count, delay_ms: int = delay_ms) -> None:
                for what, seen in pulls(count, delay_ms, rounds, root).items():
                    told(f"pull, {count} repositories, {delay_ms} ms a connection, {what}", seen)

            _in_a_folder(pulled)
    for way in (("stg", "main"), ("dev", "stg")):
        for delay_ms in (0, DELAY_MS):

            def promoted(root: Path, way: tuple[str, str] = way, delay_ms: int = delay_ms) -> None:
                title = f"promotion of 8, {way[0]} to {way[1]}, {delay_ms} ms a connection"
                told(title, promotions(way, delay_ms, rounds, root))

            _in_a_folder(promoted)


if __name__ == "__main__":
    main()
