"""`--env=dev` on a developer's own machine: a real SQLite file, real servers on two ports, a working tree."""

from __future__ import annotations

import http.server
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import in_a_thread

from conftest import ROOT, Ran, run_forked

PAGE = b'<!doctype html><div id="app"></div><script type="module" src="/src/main.js"></script>'


class Answers(http.server.BaseHTTPRequestHandler):
    """The answers of a developer's API and frontend."""

    pages: dict[str, tuple[str, bytes]]

    def do_GET(self) -> None:
        kind, body = self.pages.get(self.path, ("text/plain", b""))
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log."""


class Machine:
    """A developer's machine, for the environment `dev` of a copy of environments.toml."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tree = folder / "gli_root", folder / "gli_api-server"
        self.servers = [
            self._serve({"/health/": ("application/json", b'{"status": "ok"}')}),
            self._serve({"/": ("text/html", PAGE), "/src/main.js": ("text/javascript", b"console.log(1)")}),
        ]
        self.root.mkdir()
        for name in ("tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini"):
            (self.root / name).symlink_to(ROOT / name)
        text = (ROOT / "environments.toml").read_text()
        for address, server in zip(("localhost:8000", "localhost:3000"), self.servers, strict=True):
            text = text.replace(address, f"localhost:{server.server_port}")
        (self.root / "environments.toml").write_text(text)
        migrations = self.tree / "notices" / "migrations"
        migrations.mkdir(parents=True)
        for name in ("__init__", "0001_initial", "0002_first_notices"):
            (migrations / f"{name}.py").write_text("")
        self.database = self.tree / "db.sqlite3"
        with sqlite3.connect(self.database) as connection:
            connection.execute("CREATE TABLE django_migrations (app TEXT, name TEXT)")
            rows = [("notices", "0001_initial"), ("notices", "0002_first_notices"), ("auth", "0001_initial")]
            connection.executemany("INSERT INTO django_migrations VALUES (?, ?)", rows)
        connection.close()

    def _serve(self, pages: dict[str, tuple[str, bytes]]) -> http.server.ThreadingHTTPServer:
        handler = type("Handler", (Answers,), {"pages": pages})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        in_a_thread(server)
        return server

    def verify(self) -> Ran:
        return run_forked("--env=dev", root=self.root, reports=self.root / "reports")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for server in made.servers:
        server.shutdown()
        server.server_close()


def test_a_healthy_machine_is_go(machine: Machine) -> None:
    ran = machine.verify()
    assert (ran.code, ran.last_line) == (0, "VERDICT dev: GO"), ran.output


def test_checks_of_missing_parts_are_not_collected(machine: Machine) -> None:
    layers = {c["id"].partition("-")[0] for c in (machine.verify().verdict or {})["checks"]}
    assert layers & {"ecs", "redis", "mq", "tls", "sg", "s3", "git", "aws"} == set()
    assert layers >= {"api", "cdn", "sqlite"}


def test_no_database_file(machine: Machine) -> None:
    machine.database.unlink()
    ran = machine.verify()
    assert ran.roots == {"sqlite-integrity"}
    assert "there is no such file" in ran.output


def test_a_damaged_file(machine: Machine) -> None:
    machine.database.write_bytes(b"not a database at all" * 100)
    assert machine.verify().roots == {"sqlite-integrity"}


def test_a_pending_migration(machine: Machine) -> None:
    (machine.tree / "notices/migrations/0003_more.py").write_text("")
    ran = machine.verify()
    assert ran.roots == {"sqlite-migrations-applied"}
    assert "notices.0003_more pending" in " ".join(ran.output.split())


def test_a_migration_of_another_branch(machine: Machine) -> None:
    (machine.tree / "notices/migrations/0002_first_notices.py").unlink()
    assert machine.verify().roots == {"sqlite-migrations-applied"}


@pytest.mark.parametrize(("server", "root"), [(0, "api-health"), (1, "cdn-index-200")])
def test_a_server_that_is_not_started(machine: Machine, server: int, root: str) -> None:
    machine.servers[server].shutdown()
    machine.servers[server].server_close()
    assert machine.verify().roots == {root}


def test_the_database_is_not_touched(machine: Machine) -> None:
    before = machine.database.read_bytes()
    machine.verify()
    assert machine.database.read_bytes() == before
    assert sorted(p.name for p in machine.tree.glob("db*")) == ["db.sqlite3"]
