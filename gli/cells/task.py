"""The command of the container that ECS starts for a cell: makes the run, then writes its reports to one URL.

`python -m gli.cells.task ARGUMENTS` runs `pytest ARGUMENTS`. Whoever has the URL (GLI_RESULTS_URL) may write one object
of S3, so the task's own role needs no right to write. Keys come as text in variables, which the run does not get. Ends
with the run's exit code, or with 3 if the reports could not be written.
"""

from __future__ import annotations

import io
import os
import pwd
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gli.common.http_exchange import NoAnswerError, exchange
from gli.gate.signing import KEY_VARIABLE

RESULTS = "GLI_RESULTS_URL"
SIGNING_KEY, GIT_KEY, KNOWN_HOSTS = "VERIFY_SIGNING_KEY", "VERIFY_GIT_KEY", "VERIFY_KNOWN_HOSTS"
"""The texts of the SSH keys that sign verdicts and that read the repositories, and of the keys of the git hosts."""
FILES = ("verdict.json", "verdict.json.sig", "facts.jsonl", "junit.xml", "report.html", "report.md")
_UPLOAD_S = 60.0
_CANNOT_TELL = 3


def main(arguments: Sequence[str]) -> int:
    """Makes the run; returns the exit code."""
    url = os.environ.pop(RESULTS, "")
    if not url:
        print(f"{RESULTS} is not set: `gli run --cells` sets it", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        ssh = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"  # where ssh looks, whatever HOME says
        _write_key(SIGNING_KEY, Path(folder) / "signing-key", KEY_VARIABLE)
        _write_key(GIT_KEY, ssh / "id_ed25519")
        _write_key(KNOWN_HOSTS, ssh / "known_hosts")
        reports = Path(folder) / "reports"
        command = [sys.executable, "-m", "pytest", *arguments, f"--report-dir={reports}"]
        with subprocess.Popen(command) as process:
            for sent in (signal.SIGTERM, signal.SIGINT):  # ECS stops a task by SIGTERM, and waits 30 seconds
                signal.signal(sent, lambda *_: process.terminate())
            code = process.wait()
        try:
            answer = exchange("PUT", url, content=packed(reports), within_s=_UPLOAD_S)
        except NoAnswerError as e:
            print(f"the reports can't be written to S3: {e}", file=sys.stderr)
            return _CANNOT_TELL
    if answer.status != 200:
        print(f"the reports can't be written to S3: HTTP {answer.status}", file=sys.stderr)
        return _CANNOT_TELL
    return code


def packed(reports: Path) -> bytes:
    """The files of every run below a folder of reports, as a tar archive: `ENV/ID/verdict.json`."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for path in sorted(p for p in reports.glob("*/*/*") if p.name in FILES and not p.parent.is_symlink()):
            tar.add(path, arcname=str(path.relative_to(reports)))
    return archive.getvalue()


def _write_key(variable: str, path: Path, named_by: str = "") -> None:
    """Writes the text of a variable as a private file, and removes the variable."""
    text = os.environ.pop(variable, "")
    if not text:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    if named_by:
        os.environ[named_by] = str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
