"""Make `.venv` and install one requirements file into it: `python scripts/set_up.py requirements/NAME.txt`.

Source of truth for what is installed: the pins of that file. Whatever fails is one sentence on stderr and exit code 1;
all that pip said is then in `.venv/pip.log`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import venv
from pathlib import Path

VENV = Path(".venv")
LOG = VENV / "pip.log"
PIP = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
PLATFORMS = "Linux (x86-64 and ARM, glibc 2.28 or newer) and on macOS (ARM)"
# What urllib3 says when it can't connect, before pip says that the package does not exist.
_UNREACHABLE = "Retrying (Retry("


def main(requirements: str) -> None:
    if not os.access(VENV / "bin/python", os.X_OK):
        print(f"setting up {VENV} ...", flush=True)
        if importlib.util.find_spec("ensurepip") is None:
            sys.exit(f"{sys.executable} can't make {VENV}: it lacks ensurepip; on Debian, apt-get install python3-venv")
        venv.create(VENV, with_pip=True, symlinks=True)
    print(f"installing {requirements} ...", flush=True)
    said = run([*PIP, "--no-compile", "-r", requirements])
    if said is None:
        said = run([*PIP, "--no-deps", "--no-build-isolation", "--editable", "."])
    if said is not None:
        sys.exit(sentence(requirements, said))


def run(command: list[str]) -> str | None:
    """None where the command succeeds, else all that it said, which is then in the log."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode == 0:
        return None
    LOG.write_text(done.stdout)
    return done.stdout


def sentence(requirements: str, said: str) -> str:
    """Why pip failed."""
    missing = re.search(r"No matching distribution found for ([^\s;]+)", said)
    if missing and _UNREACHABLE in said:
        return f"pip can't reach its package index to install {requirements}; {LOG} has what it said"
    if missing:
        here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
        return f"{missing[1]} has no wheel for {here}; the pinned packages have wheels for {supported()} on {PLATFORMS}"
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")] or said.strip().splitlines()[-1:]
    return f"pip can't install {requirements}: {''.join(errors[-1:])}; {LOG} has all that it said"


def supported() -> str:
    """The versions of Python in the project's classifiers."""
    versions = re.findall(r"Python :: (3\.\d+)", Path("pyproject.toml").read_text())
    return f"Python {versions[0]} to {versions[-1]}"


if __name__ == "__main__":
    main(sys.argv[1])
