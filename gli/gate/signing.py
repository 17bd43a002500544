"""SSH signatures on files, made like git's: `ssh-keygen -Y` writes `FILE.sig` beside the file.

Source of truth: ssh-keygen(1), sections `-Y sign`, `-Y find-principals`, `-Y verify` and ALLOWED SIGNERS.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from gli.common.errors import UsageError
from gli.git.command import environment

KEY_VARIABLE = "GLI_SIGNING_KEY"
VERDICT, SIGN_OFF = "gli-verdict", "gli-sign-off"
"""The namespaces of signatures: the signature of a verdict is not valid for a sign-off, and the other way round."""
_ASKING = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE")
_LIMITED = re.compile(r"""\s*("[^"]*"|[^\s"]+)\s+(?:(?:[^\s"]|"[^"]*")+,)?namespaces=\"""", re.IGNORECASE)
"""A line of the allowed signers that says what its key may sign."""
_TIMEOUT_S = 60.0  # somebody may have to type a passphrase


def run_key() -> str | None:
    """The key that signs a run's verdict: the file that GLI_SIGNING_KEY names; None if the variable is not set."""
    return os.environ.get(KEY_VARIABLE) or None


def own_key() -> str | None:
    """The key that signs a person's sign-offs: the file in GLI_SIGNING_KEY, or else git's SSH key for commits."""
    return run_key() or (_git_config("user.signingkey") if _git_config("gpg.format") == "ssh" else None)


def sign(path: Path, namespace: str, key: str, *, ask: bool = False) -> Path:
    """Writes `PATH.sig`. Asks for a passphrase only if `ask` is true. Raises `UsageError` if the key can't sign."""
    signature = path.with_name(path.name + ".sig")
    signature.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = key
        if key.startswith(("key::", "ssh-", "ecdsa-", "sk-")):  # git also accepts the public key itself
            literal = Path(folder) / "key.pub"
            literal.write_text(key.removeprefix("key::") + "\n", encoding="utf-8")
            file = str(literal)
        told = ["-Y", "sign", "-f", str(Path(file).expanduser()), "-n", namespace, str(path)]
        done = _ssh_keygen(told, ask=ask)
    if done is None or done.returncode != 0 or not signature.is_file():
        why = "ssh-keygen is not installed" if done is None else (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise UsageError(f"{path.name} can't be signed with {key}: {why}; see {KEY_VARIABLE} or git's user.signingkey")
    return signature


def sign_verdict(path: Path) -> str:
    """Signs the verdict of a run, if the run has a key. Returns why that failed; empty if it did not."""
    key = run_key()
    try:
        if key is not None:
            sign(path, VERDICT, key)
    except UsageError as e:
        return str(e)
    return ""


def signer(path: Path, content: bytes, namespace: str, allowed: Path) -> str | None:
    """The allowed signer whose valid signature of `content` lies beside the file; None if there is no such signature.

    The caller passes the content that it judges: a file may change between two readings.
    """
    signature = path.with_name(path.name + ".sig")
    if not signature.is_file() or not allowed.is_file():
        return None
    listing = ["-f", str(allowed), "-s", str(signature)]
    found = _ssh_keygen(["-Y", "find-principals", *listing])
    if found is None or found.returncode != 0:
        return None
    for principal in found.stdout.splitlines():
        checked = _ssh_keygen(["-Y", "verify", "-I", principal, "-n", namespace, *listing], says=content)
        if checked is not None and checked.returncode == 0:
            return principal
    return None


def verdict_signer(path: Path, content: bytes, allowed: Path | None, *, required: bool) -> str | None:
    """The allowed signer of a verdict; None if nobody signed it, or if nobody is asked to.

    Where signatures are required, a key counts only if its line has `namespaces`: any other may be the key of a person
    who signs sign-offs, and who could then say yes alone.
    """
    if allowed is None:
        return None
    if not required:
        return signer(path, content, VERDICT, allowed)
    with tempfile.TemporaryDirectory() as folder:
        limited = Path(folder) / "allowed"
        try:
            lines = allowed.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return None
        limited.write_text("".join(f"{line}\n" for line in lines if _LIMITED.match(line)), encoding="utf-8")
        return signer(path, content, VERDICT, limited)


def _ssh_keygen(
    arguments: list[str], *, says: bytes = b"", ask: bool = False
) -> subprocess.CompletedProcess[str] | None:
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments],
            input=says,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=_variables(ask=ask),
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def _variables(*, ask: bool) -> dict[str, str]:
    """The variables that ssh-keygen gets: an allow-list, without the tokens of this process."""
    own = environment()
    if not ask:
        return own | {"SSH_ASKPASS_REQUIRE": "force", "SSH_ASKPASS": "false", "DISPLAY": ""}
    del own["SSH_ASKPASS_REQUIRE"]
    return own | {name: os.environ[name] for name in _ASKING if name in os.environ}


def _git_config(key: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "config", "--get", key], capture_output=True, text=True, timeout=5, check=False, env=environment()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
