"""Real git hosts in front of the rig's repositories: OpenSSH's server, gitolite behind it, and git's own http-backend.

Each serves on loopback until the end of its block. Source of truth: sshd(8), gitolite.com/gitolite, git-http-backend.
"""

from __future__ import annotations

import base64
import os
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served import in_a_thread

from conftest import started, wait_for
from gli.git import command

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
GITOLITE = shutil.which("gitolite")
HTTP_BACKEND = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()) / "git-http-backend"
USER, PASSWORD = "first", "s3cr3t-token"
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
SetEnv HOME={folder}
{more}
"""
"""A session's shell reads no settings from its home: those of this machine may take 0.1 s."""
_RULES = "repo gli_.*\n    RW+ = first\n    C = first\nrepo @all\n    RW+ = first\n"


Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


@dataclass(frozen=True)
class Host:
    """Where the repositories are served, and what git needs to reach them."""

    address: str
    """As git.remote in environments.toml, with `{repository}`."""
    environment: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def ssh(folder: Path, remotes: Path, *, command: str = "", more: str = "") -> Iterator[Host]:
    """OpenSSH's server for the repositories below `remotes`; with a forced `command`, addresses are names for it."""
    assert SSHD is not None
    folder.mkdir(parents=True, exist_ok=True)
    for key in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    options = f'command="{command}",restrict ' if command else ""
    (folder / "authorized").write_text(options + (folder / "mine.pub").read_text())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder, more=more))
    with started([SSHD, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]) as server:
        wait_for(lambda: server.poll() is not None or _listens(port), "sshd's start")
        assert server.poll() is None, (folder / "log").read_text()
        options = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o BatchMode=yes"
        asks = f"ssh -F none -i {folder}/mine {options} -o UserKnownHostsFile={folder}/known"
        path = "/{repository}" if command else f"{remotes}/{{repository}}.git"
        user = os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip()
        yield Host(f"ssh://{user}@127.0.0.1:{port}{path}", {"GIT_SSH_COMMAND": asks})


@contextmanager
def gitolite(folder: Path, remotes: Path, *, rules: str = "    RW+ = first\n") -> Iterator[Host]:
    """gitolite behind OpenSSH's server. It takes the repositories below `remotes` as its own: `remotes` becomes a link
    to its folder. `rules` are those of each repository."""
    home = folder / "home"
    home.mkdir(parents=True)
    environment = {**os.environ, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    environment = {k: v for k, v in environment.items() if not k.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))}
    subprocess.run(["git", "config", "--global", "user.name", "admin"], env=environment, check=True)
    subprocess.run(["git", "config", "--global", "user.email", "admin@glibiz.com"], env=environment, check=True)

    def run(*command: str) -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run("gitolite", "setup", "-a", "admin")
    names = sorted(path.stem for path in remotes.glob("*.git"))
    for name in names:
        shutil.move(remotes / f"{name}.git", home / "repositories" / f"{name}.git")
    remotes.rmdir()
    remotes.symlink_to(home / "repositories")
    conf = home / ".gitolite" / "conf" / "gitolite.conf"
    conf.write_text("".join(f"repo {name}\n{rules}" for name in names))
    run("gitolite", "compile")
    run("gitolite", "setup", "--hooks-only")
    shell = f"env HOME={home} /usr/share/gitolite3/gitolite-shell first"
    with ssh(folder / "sshd", remotes, command=shell) as host:
        yield host


@contextmanager
def http(
    remotes: Path, *, password: str = "", instead: Callable[[str, str], Answer | None] = lambda method, path: None
) -> Iterator[Host]:
    """git http-backend as a CGI program behind a small server; with a `password`, it asks for it. `instead` is asked
    for another answer to each request.
    """
    asked = base64.b64encode(f"{USER}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if password and self.headers.get("Authorization") != f"Basic {asked}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            answer = instead(self.command, self.path)
            if answer is not None:
                _body(self)
            self._answer(*(answer or _cgi(self, remotes)))

        do_POST = do_GET

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    in_a_thread(server)
    try:
        yield Host(
            f"http://{f'{USER}:{password}@' if password else ''}127.0.0.1:{server.server_port}/{{repository}}.git"
        )
    finally:
        server.shutdown()
        server.server_close()


def each_output_takes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """By the clock of `gli.git.command`, this time passes before each output of git; returns [all of that time]."""
    late = [0.0]

    class Late(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            ready = super().select(timeout)
            late[0] += seconds if ready else 0.0
            return ready

    events = {name: getattr(selectors, name) for name in ("EVENT_READ", "EVENT_WRITE")}
    monkeypatch.setattr(command, "selectors", SimpleNamespace(DefaultSelector=Late, **events))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late[0]))
    return late


def _cgi(request: BaseHTTPRequestHandler, remotes: Path) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body of what git http-backend answers. Source of truth: RFC 3875."""
    path, _, query = request.path.partition("?")
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(remotes),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": USER,
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": request.command,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }
    body = _body(request)
    done = subprocess.run(
        [str(HTTP_BACKEND)],
        input=body,
        env=environment | {"CONTENT_LENGTH": str(len(body))},
        capture_output=True,
        check=False,
    )
    head, _, answer = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    return int(headers.pop("Status", "200").split()[0]), headers, answer


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
