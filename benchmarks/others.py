"""The suite beside what a user would pick instead: the same checks as plain pytest, and other tools for their part.

    .venv/bin/python benchmarks/others.py [ROUNDS]

Starts a sandbox for each delay of an answer (0, 50, 100 and 250 ms). In every round each way verifies it once, in
turns, so that a slower machine slows all of them alike. The figures are medians; a way that takes longer than 15 s is
measured once at that delay. A way that fails is named and left out. No page is opened in a browser here: none of the
others does that, and it would take most of the memory. The ways:

- `gli`: `pytest --env=sandbox`.
- `plain`, `plain -n2` ...: the same checks as a plain pytest suite. Each observation starts when the first check of its
  process asks for it, as a session fixture does; workers share none.
- `gli, web and ports`: the suite, for what the next two can do: health of the API, both pages, and the ports of the
  database, the cache and the broker.
- `blackbox`: prometheus-blackbox-exporter, already running, asked for all at once.
- `testinfra`: pytest-testinfra: ports, and curl for the pages.
- `gli, AWS`: the suite's checks of AWS.
- `prowler`: Prowler's checks of the services that the suite asks, on the same account, without delay only.

A way that is not installed is named and left out: `make .venv/bench.stamp .venv/prowler.stamp`, and `apt-get install
prometheus-blackbox-exporter`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measured import Cost, cost, median

ROOT = Path(__file__).resolve().parent.parent
DELAYS_MS = (0, 50, 100, 250)
LONG_S = 15.0
"""A way that takes longer is measured once."""
NO_BROWSER = {"GLI_CHROMIUM": ""}
BIN = Path(sys.executable).parent
PLAIN = '''\
"""Makes the suite a plain one: no observation begins before its check asks for it, and workers share none."""
from pathlib import Path
from gli.config import environments
from gli.observe.engine import observatory, worker_sharing

class Alone(observatory.Observatory):
    def __init__(self, ticket, group_of):
        from gli.observe.aws.identity import confirmed_identity
        super().__init__(environments.load(Path.cwd(), "sandbox"), first=confirmed_identity)

observatory.RUN_DEADLINE_S = 3600.0
observatory.Observatory.begin = lambda *_a, **_k: None
worker_sharing.Remote = Alone
'''
WEB_AND_PORTS = "api_health or cdn_index_200 or db_tcp_reachable or redis_ping or mq_amqp_login"
SERVICES = ("acm", "cloudfront", "cloudwatch", "ecr", "ecs", "elasticache", "elbv2", "iam", "rds", "route53", "s3")
TESTINFRA = """\
import subprocess
import pytest

@pytest.mark.parametrize("port", {ports})
def test_port(host, port):
    assert host.addr("127.0.0.1").port(port).is_reachable

@pytest.mark.parametrize("name,address,path", {pages})
def test_page(host, name, address, path):
    ip, _, port = address.partition(":")
    shown = host.run(f"curl --fail --silent --cacert {ca} --connect-to {{name}}:443:{{ip}}:{{port}} https://{{name}}{{path}}")
    assert shown.rc == 0
"""
EXPORTER = """\
modules:
  port: {{prober: tcp, timeout: 20s}}
{pages}
"""
PAGE = """\
  {name}:
    prober: http
    timeout: 20s
    http:
      preferred_ip_protocol: ip4
      headers: {{Host: {name}}}
      tls_config: {{ca_file: {ca}, server_name: {name}}}
"""


@dataclass(frozen=True)
class Target:
    """A sandbox that is up."""

    name: str
    status: dict[str, Any]
    folder: Path
    root: Path = ROOT

    @property
    def pages(self) -> list[tuple[str, str, str]]:
        """(host, address, path) of the pages that every tool asks for."""
        paths = {"stg-api.glibiz.com": "/health/", "stg.glibiz.com": "/", "stg-admin.glibiz.com": "/"}
        return [(name, self.status["hosts"][name], path) for name, path in paths.items()]

    @property
    def ports(self) -> list[int]:
        """The ports of database, cache and broker."""
        urls = (self.status[key] for key in ("postgres_dsn", "redis_url", "amqp_url"))
        return [port for url in urls if url and (port := urllib.parse.urlsplit(url).port)]

    def requests(self) -> int:
        """The requests of HTTP, WebSocket and AWS that the sandbox has counted so far."""
        web = json.loads(_sandbox("status", "--json", "--name", self.name, root=self.root))["requests"]
        return int(web) + sum(self.of_aws().values())

    def of_aws(self) -> dict[str, int]:
        """The requests that each service of AWS has got so far."""
        asked = urllib.request.Request(f"{self.status['aws_endpoint_url']}/_sandbox/requests", data=b"{}")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return dict(json.loads(answer.read())["requests"])

    def environment(self) -> dict[str, str]:
        """The variables of every way."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "AWS_", "PYTHON", "GLI_"))}
        return own | NO_BROWSER | {"GLI_SANDBOX": self.name}


Way = Callable[[Target], Cost]


def _sandbox(*arguments: str, root: Path = ROOT) -> str:
    command = [sys.executable, "-m", "sandbox", *arguments]
    return subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def target(delay_ms: int, root: Path = ROOT) -> Iterator[Target]:
    """A sandbox of the project in `root` that delays every answer."""
    name = f"bench-{os.getpid()}-{delay_ms}"
    _sandbox("up", "--detach", "--name", name, "--latency", f"{delay_ms}ms", root=root)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Target(name, json.loads(_sandbox("status", "--json", "--name", name, root=root)), Path(folder), root)
    finally:
        _sandbox("down", "--name", name, root=root)


def suite(*options: str, plain: bool = False, browser: bool = False) -> Way:
    """`pytest --env=sandbox`. Every selected case must pass; a part of the cases, or a plain run, is never GO."""
    fine = {"passed", "missing", *(() if browser else ("not-applicable",))}

    def run(target: Target) -> Cost:
        (target.folder / "gli_plain.py").write_text(PLAIN)
        command = [str(BIN / "pytest"), "--env=sandbox", "-q", f"--report-dir={target.folder}/reports", *options]
        command += ["-p", "gli_plain"] if plain else []
        env = target.environment() | {"PYTHONPATH": str(target.folder)}
        if browser:
            del env["GLI_CHROMIUM"]
        before = target.requests()
        found = cost(command, cwd=ROOT, env=env, output=target.folder / "output", fails=plain or bool(options))
        verdict = json.loads((target.folder / "reports/sandbox/latest/verdict.json").read_text())
        wrong = [f"{c['id']}[{c['target']}]" for c in verdict["checks"] if c["outcome"] not in fine]
        if wrong or (verdict["counts"].get("missing", 0) and "-k" not in options):
            raise RuntimeError(f"{' '.join(command)}: not all passed: {wrong}\n{verdict['reasons']}")
        return replace(found, requests=target.requests() - before)

    return run


def testinfra(target: Target) -> Cost:
    """pytest-testinfra."""
    checks = target.folder / "test_infra.py"
    checks.write_text(TESTINFRA.format(ports=target.ports, pages=target.pages, ca=target.status["ca_file"]))
    command = [str(ROOT / ".venv/bench/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    return cost(command, cwd=target.folder, env=target.environment(), output=target.folder / "output")


def blackbox(target: Target) -> Cost:
    """The exporter runs already, as it does for Prometheus; what asks it is curl."""
    pages = "".join(PAGE.format(name=name, ca=target.status["ca_file"]) for name, _, _ in target.pages)
    (target.folder / "blackbox.yml").write_text(EXPORTER.format(pages=pages))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    exporter = subprocess.Popen(
        [
            "prometheus-blackbox-exporter",
            f"--config.file={target.folder}/blackbox.yml",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        asked = [f"http://127.0.0.1:{port}/probe?module=port&target=127.0.0.1:{p}" for p in target.ports]
        asked += [
            f"http://127.0.0.1:{port}/probe?module={name}&target=https://{address}{path}"
            for name, address, path in target.pages
        ]
        command = ["curl", "--silent", "--fail", "--parallel", *asked]
        found = cost(command, cwd=target.folder, env=target.environment(), output=target.folder / "output")
        good = (target.folder / "output").read_text().count("\nprobe_success 1")
        if good != len(asked):
            raise RuntimeError(f"blackbox: {good} of {len(asked)} probes succeeded")
        used = sum(map(float, Path(f"/proc/{exporter.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return replace(found, cpu_s=found.cpu_s + used / os.sysconf("SC_CLK_TCK"))
    finally:
        exporter.terminate()
        exporter.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the exporter did not start")


def prowler(target: Target) -> Cost:
    """Prowler on the services that the suite asks too."""
    command = [str(ROOT / ".venv/prowler/bin/prowler"), "aws", "--services", *SERVICES, "--region"]
    command += [
        target.status["aws_region"],
        "--no-banner",
        "--output-modes",
        "csv",
        "-o",
        str(target.folder / "prowler"),
    ]
    keys = {"AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "tool"}
    env = target.environment() | keys | {"AWS_ENDPOINT_URL": target.status["aws_endpoint_url"]}
    found = cost(command, cwd=target.folder, env=env, output=target.folder / "output", fails=True)
    if not list((target.folder / "prowler").glob("*.csv")):
        raise RuntimeError(f"prowler wrote no result:\n{(target.folder / 'output').read_text()[-2000:]}")
    return found


def aws_checks() -> str:
    """The functions of the suite's checks of AWS, for `-k`."""
    from gli.config import catalogue

    layers = {"storage", "compute", "registry", "security", "iam", "secrets", "logs", "metrics", "alarms", "scaling"}
    return " or ".join(c.function for c in catalogue.load(ROOT).checks.values() if c.layer in layers)


def ways() -> dict[str, Way]:
    """Every way that is installed, by its name."""
    found: dict[str, Way] = {"gli": suite()}
    found |= {f"plain {n}".strip(): suite(*n.split(), plain=True) for n in ("", "-n2", "-n4", "-n8")}
    found["gli, web and ports"] = suite("-k", WEB_AND_PORTS)
    left_out = []
    if shutil.which("prometheus-blackbox-exporter"):
        found["blackbox"] = blackbox
    else:
        left_out.append("prometheus-blackbox-exporter")
    if (ROOT / ".venv/bench/bin/python").exists():
        found["testinfra"] = testinfra
    else:
        left_out.append("pytest-testinfra")
    found["gli, AWS"] = suite("-k", aws_checks())
    if (ROOT / ".venv/prowler/bin/prowler").exists():
        found["prowler"] = prowler
    else:
        left_out.append("prowler")
    if left_out:
        print(f"not installed, left out: {', '.join(left_out)}", file=sys.stderr)
    return found


def compared(delays_ms: Sequence[int], rounds: int) -> tuple[dict[tuple[str, int], Cost], list[str]]:
    """The medians of every way at every delay, and a sentence for each way that failed."""
    seen: dict[tuple[str, int], list[Cost]] = {}
    failed: dict[str, str] = {}
    there_are = ways()
    for delay in delays_ms:
        with target(delay) as there:
            for turn in range(rounds):
                for name, way in there_are.items():
                    before = seen.setdefault((name, delay), [])
                    long = turn and before and before[0].wall_s > LONG_S
                    if name in failed or long or (name == "prowler" and delay):
                        continue
                    try:
                        before.append(way(there))
                    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as e:
                        failed[name] = f"{name} failed at {delay} ms: {str(e).splitlines()[0]}"
                        print(failed[name], file=sys.stderr, flush=True)
                        continue
                    said = f"{delay} ms, round {turn + 1} of {rounds}: {name} {before[-1].wall_s:.1f} s"
                    print(said, file=sys.stderr, flush=True)
    return {key: median(costs) for key, costs in seen.items() if costs}, [*failed.values()]


def table(found: dict[tuple[str, int], Cost]) -> list[str]:
    """The figures as a Markdown table."""
    delays = sorted({delay for _, delay in found})
    head = [*(f"{delay} ms" for delay in delays), "CPU", "memory", "requests"]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name in dict.fromkeys(name for name, _ in found):
        cells = [f"{found[name, d].wall_s:.1f} s" if (name, d) in found else "" for d in delays]
        least = next(found[name, d] for d in delays if (name, d) in found)
        cells += [f"{least.cpu_s:.1f} s", f"{least.memory_mb:.0f} MB"]
        cells.append(str(least.requests) if least.requests is not None else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found, failed = compared(DELAYS_MS, rounds)
    print("\n".join([*table(found), "", *failed]))


if __name__ == "__main__":
    main()
