"""git as a program: its environment, its errors, and one command with a deadline.

git may never ask for a password, so it runs in its own session, without a terminal. Ctrl-C does not reach it there; the
caller decides whether to end it. `gli.git.command_async` does the same for the event loop.

Source of truth: git(1), "Environment Variables".
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gli.common.errors import UsageError

TIMEOUT_S = 300.0
"""A local command may take this long; a command that prints its progress may be silent this long."""
QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "LC_ALL": "C",
    "GIT_NO_REPLACE_OBJECTS": "1",  # git-replace(1): a ref below refs/replace/ shows another commit under the same id
}
_INHERITED = {
    *("HOME", "LOGNAME", "PATH", "SHELL", "TEMP", "TMP", "TMPDIR", "TZ", "USER"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"),
    *("GNUPGHOME", "GPG_AGENT_INFO", "GPG_TTY", "KRB5CCNAME", "KRB5_CONFIG", "SSH_AGENT_PID", "SSH_AUTH_SOCK"),
    *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "all_proxy", "https_proxy", "http_proxy", "no_proxy"),
    *("CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    *("GIT_AUTHOR_EMAIL", "GIT_AUTHOR_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_NAME"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_EXEC_PATH"),
    *("GIT_HTTP_LOW_SPEED_LIMIT", "GIT_HTTP_LOW_SPEED_TIME", "GIT_HTTP_PROXY_AUTHMETHOD", "GIT_PROXY_COMMAND"),
    *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_SSL_VERSION"),
    *("GIT_CURL_VERBOSE", "GIT_TRACE", "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE_CURL", "GIT_TRACE_PACKET"),
}
"""The variables that git, ssh and a signing program need. Tokens and passwords of gli are not among them, nor what a
hook of git sets (GIT_DIR and others, of another repository), nor settings of git in variables (GIT_CONFIG_COUNT,
GIT_CONFIG_PARAMETERS), which could lead a command to another remote than environments.toml names."""
_CONTROL = re.compile(r"\x1b\[[0-9;]*[mK]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_USERINFO = re.compile(r"://[^/\s]*@")
_GITS_OWN = re.compile(r"(?<=[^\n])(?:fatal|error): (?=Could not read from remote repository|the remote end hung up)")
_LONGEST = 300
_LOOKS_S = 0.5
_PROGRESS = re.compile(r"(?:remote: )?(?:(?:\w+ )?(?:[A-Z]\w+ing \w+): |Total \d|From |Cloning into )")
_SAYS_LITTLE = (
    "could not read from remote repository",
    "the remote end hung up",
    "early eof",
    "fetch-pack: invalid index-pack output",
    "unexpected disconnect while reading sideband packet",
    "packet write with format failed",
)
"""git's last line where ssh or the host has said the reason before it."""
_BOILERPLATE = (
    "please make sure you have the correct access rights",
    "and the repository exists",
    "warning: permanently added",
    "host key verification failed.",
)
_OTHER_KEY = re.compile(r"^Host key for (?P<host>\S+) has changed", re.MULTILINE)
_OF_HTTP = ("returned error: ", "could not read Username", "could not read Password")
_MEANS = {
    "could not read Username": "the host asks for a login, and git has none for it (credential.helper)",
    "could not read Password": "the host asks for a login, and git has none for it (credential.helper)",
    "returned error: 403": "the host knows this login, and forbids that",
    "returned error: 407": "the proxy asks for a login",
    "returned error: 429": "the host takes no more requests for now",
}
"""What git's words mean to who has to mend it."""
_running: set[subprocess.Popen[bytes]] = set()
"""What Ctrl-C in `gli.release.repositories.each` may end."""


class GitFailed(Exception):
    """git ended with an error. The text is the line that says why: the line of ssh or of the host if git itself only
    says that there was an error.
    """

    def __init__(self, command: Sequence[str], code: int, stderr: str) -> None:
        stderr = without_secrets(shown(stderr.replace("\r", "\n")))
        super().__init__(_reason(stderr, code))
        self.command = tuple(command)
        self.code = code
        self.stderr = stderr


def _reason(stderr: str, code: int) -> str:
    stderr = _GITS_OWN.sub(r"\n\g<0>", stderr)  # ssh or the host may end without an end of line
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or [f"git ended with {code}"]
    said = next((line for line in lines if line.startswith(("fatal", "error"))), lines[-1])
    if other := _OTHER_KEY.search(stderr):
        return (
            f"{other['host']} has another host key than before: compare it with the key that the host publishes, then "
            "take the old one out of known_hosts"
        )
    if any(words in said for words in _OF_HTTP):
        of_host = (line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:"))
        meant = [text for words, text in _MEANS.items() if words in said]
        return "; ".join([said, *meant, *dict.fromkeys(filter(None, of_host))])[:_LONGEST]
    if not any(little in said.lower() for little in _SAYS_LITTLE):
        return said
    spoken = (line for line in lines if not _is_boilerplate(line) and not _PROGRESS.match(line))
    before = [line.removeprefix("remote:").strip() for line in spoken]
    words = list(dict.fromkeys(line for line in before if line.strip("*= ")))
    while len("; ".join(words)) > _LONGEST and len(words) > 1:
        words = words[1:]  # a banner: it comes first, and the reason last
    return "; ".join(words)[:_LONGEST] if words else said


def _is_boilerplate(line: str) -> bool:
    low = line.lower()
    return (low.startswith(("fatal: ", "error: ")) and any(little in low for little in _SAYS_LITTLE)) or any(
        low.startswith(known) for known in _BOILERPLATE[:3]
    )


def shown(text: str) -> str:
    r"""The output of git or of a remote, made safe for a terminal: no colours, no control characters but line ends, and
    bytes outside UTF-8 as `\xNN`.
    """
    return _CONTROL.sub("", text).encode(errors="surrogateescape").decode(errors="backslashreplace")


def without_secrets(text: str) -> str:
    """The text with user names and passwords removed from the addresses in it."""
    return _USERINFO.sub("://", text)


def environment() -> dict[str, str]:
    """The environment of every git process: an allow-list of this process's variables, and the variables that keep git
    from asking.
    """
    own = {k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith("LC_")}
    return {**own, **QUIET}


def git(
    *arguments: str,
    git_dir: Path | None = None,
    cwd: Path | None = None,
    says: str | None = None,
    accept: Sequence[int] = (0,),
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    silence_s: float = TIMEOUT_S,
    interruptible: bool = False,
    noted_in: Path | None = None,
) -> str:
    """Runs git with `says` on stdin, and returns what git printed. Raises `GitFailed` for an exit code that is not in
    `accept`, and if git prints nothing for `silence_s` seconds.

    Ctrl-C in `gli.release.repositories.each` ends git only if it is `interruptible`: a fetch can end at any moment, a
    merge would leave half a work tree behind. `noted_in` is a folder in which the process notes its id before it
    starts: others find the process there if its starter is killed (see `gli.release.lock`).
    """
    command = ["git", *([f"--git-dir={git_dir}"] if git_dir else []), *arguments]
    if noted_in is not None:
        command = ["/bin/sh", "-c", _NOTED, str(noted_in), *command]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL if says is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(), **(env or {})},
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as e:
        raise _not_started(arguments, cwd, e) from e
    if interruptible:
        _running.add(process)
    try:
        output, errors = _talked(process, None if says is None else _encoded(says), silence_s)
    except TimeoutError:
        end(process)
        raise GitFailed(arguments, -signal.SIGTERM, f"fatal: no answer within {silence_s:g} s") from None
    except BaseException:
        end(process)
        raise
    finally:
        _running.discard(process)
        if noted_in is not None:
            (noted_in / str(process.pid)).unlink(missing_ok=True)
    if process.returncode == _NOT_FOUND and noted_in is not None:
        raise UsageError("git is not installed, or not on the PATH")
    if process.returncode not in accept:
        raise GitFailed(arguments, process.returncode, _decoded(errors))
    return _decoded(output)


def _not_started(arguments: tuple[str, ...], cwd: Path | None, error: OSError) -> GitFailed | UsageError:
    """The error for a git that could not be started."""
    if not isinstance(error, FileNotFoundError):  # too many processes or open files, which may pass
        return GitFailed(arguments, 128, f"fatal: git can't be started: {error.strerror}")
    if cwd is not None and not cwd.is_dir():
        return GitFailed(arguments, 128, f"fatal: {cwd} is no folder")
    return UsageError("git is not installed, or not on the PATH")


_NOTED = 'echo >"$0/$$" && exec "$@"'
_NOT_FOUND = 127


def interrupt() -> None:
    """Ask every interruptible git process to end."""
    for process in list(_running):
        _signal(process, signal.SIGTERM)


def end(process: subprocess.Popen[bytes]) -> None:
    """End git and every process that it started. git removes its lock files when it is asked to end, so it is asked
    before it is killed.
    """
    _signal(process, signal.SIGTERM)
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _talked(process: subprocess.Popen[bytes], says: bytes | None, silence_s: float) -> tuple[bytes, bytes]:
    """stdout and stderr, until both are closed, or the process has ended and nothing more comes.

    Raises `TimeoutError` if neither printed anything for `silence_s` seconds.
    """
    assert process.stdout is not None and process.stderr is not None
    found = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for fd in found:
            selector.register(fd, selectors.EVENT_READ)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        left, until = memoryview(says or b""), time.monotonic() + silence_s
        while selector.get_map():
            ready = selector.select(min(_LOOKS_S, until - time.monotonic()))
            if not ready and process.poll() is not None:
                break  # a daemon that git started, such as ssh's ControlPersist, still holds the pipes
            if not ready and time.monotonic() >= until:
                raise TimeoutError
            if not ready:
                continue
            until = time.monotonic() + silence_s
            for key, _ in ready:
                if key.fileobj is not process.stdin:
                    found[key.fd] += _read(selector, key.fd)
                elif not (left := _written(process, left)):
                    selector.unregister(process.stdin)
                    with suppress(BrokenPipeError):
                        process.stdin.close()
    process.wait(max(1.0, silence_s))
    out, err = (bytes(text) for text in found.values())
    process.stdout.close()
    process.stderr.close()
    return out, err


def _read(selector: selectors.BaseSelector, fd: int) -> bytes:
    """Reads the next bytes of a pipe. A pipe that has ended is not read again."""
    chunk = os.read(fd, 65536)
    if not chunk:
        selector.unregister(fd)
    return chunk


def _written(process: subprocess.Popen[bytes], left: memoryview) -> memoryview:
    """The rest that must still be written; nothing if git no longer reads."""
    assert process.stdin is not None
    try:
        return left[os.write(process.stdin.fileno(), left[:65536]) :] if left else left
    except BrokenPipeError:
        return left[:0]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
