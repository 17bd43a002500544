"""Pull and promotion of many repositories, compared with the alternatives, in one run.

    make .venv/bench.stamp      # gita and mu; mr is the Debian package myrepos
    .venv/bin/python benchmarks/promotion.py [ROUNDS] [--only TEXT] [--before CHECKOUT]

Each tool has its own clones; for pulls, of the same remotes. In every round each remote gets a new commit on main, and
each tool pulls in turn; then each pulls again, with nothing new. All tools use the same connection: local, an ssh that
waits 250 ms before it connects, or a real sshd behind a proxy that delays every byte by 0, 20 or 100 ms each way.
`--only` measures the cases whose title contains TEXT; `--before` also measures `gli` of another checkout. After every
turn every branch must be at the right commit. The results are the medians of wall seconds, with the ratio to `gli`. A
tool that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

BIN = Path(sys.executable).parent
OTHERS = Path(__file__).resolve().parent.parent / ".venv/bench/bin"
"""Where gita and mu are."""
DELAY_MS = 250
_ENDS_S = 5.0
_LONG = ("pull of 64, ssh, 20 ms", "pull of 64, ssh, 100 ms")
"""One round of these takes minutes: the loop connects to one repository after the other."""
SSH = """\
#!/bin/sh
# What git takes for ssh: waits as a distant host would, then runs what was asked for.
[ "$1" = -G ] && exit 1 # asked for its settings: it has none, and shares no connection
sleep "$BENCHMARK_DELAY"
for command; do :; done
exec sh -c "$command"
"""
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/mine.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 200
SetEnv HOME={folder}
"""
"""A shell of a session reads no settings from its home: those of this machine may take 0.1 s, and hosts have none."""
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
class Link:
    """How the remotes are reached."""

    title: str
    address: str = ""
    """The part of an address before the folder."""
    environment: Mapping[str, str] = field(default_factory=dict)


LOCAL = Link("local")


def slow_to_connect(delay_ms: int) -> Link:
    """A program in place of ssh that waits once for each connection."""
    return Link(f"{delay_ms} ms a connection", "ssh://distant", {"BENCHMARK_DELAY": str(delay_ms / 1000)})


@contextmanager
def sshd(folder: Path, delay_ms: int) -> Iterator[Link]:
    """OpenSSH's server behind a proxy that delays every byte, each way."""
    assert SSHD is not None
    for key in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    server = subprocess.Popen([SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")])
    user = subprocess.check_output(["id", "-un"], text=True).strip()
    try:
        with _delaying(port, delay_ms / 1000) as front:
            options = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o BatchMode=yes -o LogLevel=ERROR"
            asks = f"ssh -F none -i {folder}/mine {options} -o UserKnownHostsFile={folder}/known"
            yield Link(f"ssh, {delay_ms} ms each way", f"ssh://{user}@127.0.0.1:{front}", {"GIT_SSH_COMMAND": asks})
    finally:
        server.terminate()
        server.wait()


@contextmanager
def _delaying(port: int, delay_s: float) -> Iterator[int]:
    """A port that leads to another one, later."""

    async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def sent() -> None:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not chunk:
                    return
                writer.write(chunk)
                await writer.drain()

        sending = asyncio.create_task(sent())
        try:
            with suppress(OSError):
                while chunk := await reader.read(65536):
                    waiting.put_nowait((time.monotonic() + delay_s, chunk))
            waiting.put_nowait((time.monotonic() + delay_s, b""))
            with suppress(OSError):
                await sending
        finally:
            sending.cancel()
            writer.close()  # whatever happened: the other side would wait for ever

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(100):  # sshd may still be starting
            try:
                theirs, there = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        else:
            writer.close()
            return
        with suppress(asyncio.CancelledError):
            await asyncio.gather(copied(reader, there), copied(theirs, writer))

    async def ended() -> None:
        """The end of the last connections may still be on its way."""
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        _, open_ = await asyncio.wait(left, timeout=_ENDS_S)
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(ended(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(frozen=True)
class Remotes:
    """The remotes of one case, and how to connect to them."""

    folder: Path
    names: Sequence[str]
    link: Link

    def bare(self, name: str) -> Path:
        return self.folder / f"{name}.git"

    @property
    def template(self) -> str:
        """The remotes' address, as in git.remote of environments.toml."""
        return f"{self.link.address}{self.folder}/{{repository}}.git"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of every tool. The user's configuration of git is ignored."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "GLI_", "PYTHON"))}
        home = self.folder.parent
        return own | {
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": str(home / "ssh"),
            "PATH": os.pathsep.join((str(BIN), str(OTHERS), os.environ["PATH"])),
            **self.link.environment,
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


def _remotes(root: Path, count: int, link: Link) -> Remotes:
    """Create this number of remotes in a folder, and the ssh that connects to them."""
    remotes = Remotes(root / "remotes", [f"repository{n:02}" for n in range(count)], link)
    remotes.make()
    (root / "ssh").write_text(SSH)
    (root / "ssh").chmod(0o755)
    return remotes


def pulling(remotes: Remotes, root: Path, before: Path | None = None) -> list[Way]:
    """Every installed tool that can pull, with its workspace and configuration."""
    found = []
    tools = [("gli", "gli"), ("gita", "gita"), ("mu-repo", "mu"), ("mr -j8", "mr"), ("loop", "sh")]
    for name, program in [*tools, *([("before", "gli")] if before else [])]:
        if shutil.which(program, path=remotes.environment["PATH"]) is None:
            print(f"{name} is not installed: left out", flush=True)
            continue
        workspace = root / name.replace(" ", "")
        cloned(remotes, workspace)
        environment = remotes.environment
        if program == "gli":
            project(remotes, workspace, ".")
            command = [program, "pull", "main"]
            environment |= {"PYTHONPATH": str(before)} if name == "before" else {}
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


def pulls(
    count: int, link: Link, rounds: int, root: Path, before: Path | None = None
) -> dict[str, dict[str, list[float]]]:
    """Measure one case; returns {new or nothing new: {tool: seconds of each round}}."""
    remotes = _remotes(root, count, link)
    ways = pulling(remotes, root, before)
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


def promotions(
    way: tuple[str, str], link: Link, rounds: int, root: Path, before: Path | None = None, count: int = 8
) -> dict[str, list[float]]:
    """Measure promotions of all repositories, with a tag on main; returns {tool: seconds of each round}.

    Each tool has its own remotes. `gli moved` is the time until the last branch has moved; `gli` is the whole process.
    """
    source, target = way
    who = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@glibiz.com"}
    who |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in who.items()}
    promote = [sys.executable, "-c", TO_MAIN] if target == "main" else ["gli", "promote", source, target, "--yes"]
    commands = {"gli": promote, "loop": ["sh", "-c", SEED, "sh", source, target]}
    commands |= {"before": promote} if before else {}
    ways, theirs = [], {}
    for name, command in commands.items():
        remotes = _remotes(root / name, count, link)
        workspace = root / name / "workspace"
        earlier = {"PYTHONPATH": str(before)} if name == "before" else {}
        ways.append(Way(name, workspace, remotes.environment | who | earlier, command))
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


def short(rounds: int) -> Iterator[str]:
    """The cases of docs/speed.md as the lines of a Markdown table. The longest of them are measured once."""
    yield "| | gli | loop | loop to gli | the fastest other tool |"
    yield "|---|---|---|---|---|"
    if SSHD is None:
        raise RuntimeError("openssh-server is not installed")
    for what, count, delay, turns in (
        ("promotion", 8, 0, rounds),
        ("promotion", 8, 20, rounds),
        ("promotion", 8, 100, 1),
        ("pull", 8, 20, rounds),
        ("pull", 64, 20, 1),
    ):
        with tempfile.TemporaryDirectory(prefix="gli-benchmark-") as folder, sshd(Path(folder), delay) as link:
            if what == "promotion":
                seen = promotions(("stg", "main"), link, turns, Path(folder), count=count)
            else:
                seen = pulls(count, link, turns, Path(folder))["one commit"]
        found = {name: statistics.median(seconds) for name, seconds in seen.items()}
        gli, loop = found["gli"], found["loop"]
        others = {n: s for n, s in found.items() if n not in ("gli", "gli moved", "loop")}
        best = min(others, key=lambda name: others[name], default=None)
        told = f"{best} {others[best]:.1f} s" if best else ""
        yield f"| {what} of {count}, {link.title} | {gli:.1f} s | {loop:.1f} s | {loop / gli:.1f} | {told} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases whose title contains this")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="measure gli of this checkout too")
    chosen = parser.parse_args()
    rounds, before = chosen.rounds, chosen.before
    print(f"{rounds} rounds, {os.cpu_count()} cores; median, ratio to gli, range")
    for link_of in _links():
        for what in ("pull of 8", "pull of 64", "promotion of 8, stg to main", "promotion of 8, dev to stg"):
            with tempfile.TemporaryDirectory(prefix="gli-benchmark-") as folder, link_of(Path(folder)) as link:
                title, root = f"{what}, {link.title}", Path(folder)
                if chosen.only not in title:
                    continue
                turns = 1 if title.startswith(_LONG) else rounds
                print(f"\n{title}: {turns} rounds, and one before them ...", flush=True)
                if what.startswith("pull"):
                    for case, seen in pulls(int(what.split()[2]), link, turns, root, before).items():
                        told(f"{title}, {case}", seen)
                else:
                    source, _, target = what.partition(", ")[2].split()
                    told(title, promotions((source, target), link, turns, root, before))


def _links() -> list[Callable[[Path], AbstractContextManager[Link]]]:
    """How to open each connection, in a folder of its own."""
    plain = [lambda folder, link=link: nullcontext(link) for link in (LOCAL, slow_to_connect(DELAY_MS))]
    if SSHD is None:
        print("openssh-server is not installed: its cases are left out", flush=True)
        return [*plain]
    return [*plain, *(lambda folder, delay=delay: sshd(folder, delay) for delay in (0, 20, 100))]


if __name__ == "__main__":
    main()
