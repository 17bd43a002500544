"""`python -m sandbox`: a replica of staging on this machine."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from gli.errors import UsageError
from sandbox import control
from sandbox.state import AlreadyUp, NotUp, checked_name, project_root, running

_READY = "sandbox ready in "
_STOP_SECONDS = 15.0


class _Latency(click.ParamType[float]):
    """A time such as `100ms` or `0.1s`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a time; write 100ms or 0.1s", param, ctx)
        return float(match[1]) / (1000 if match[2] == "ms" else 1)


_name = click.option(
    "--name", envvar="GLI_SANDBOX", default="default", show_default=True, help="Which sandbox, where several are up."
)
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def cli() -> None:
    """A faithful replica of staging on this machine, and faults to break it with."""


@cli.command()
@click.option("--detach", is_flag=True, help="Return when it is ready; `down` ends it.")
@click.option("--latency", type=_Latency(), default="0ms", show_default=True, help="Delay every answer by this much.")
@_name
def up(detach: bool, latency: float, name: str) -> None:
    """Start a sandbox and keep it until Ctrl-C."""
    root = project_root()
    checked_name(name)
    if detach:
        _detach(latency, name)
    from sandbox.foreground import keep

    keep(root, name, latency, _say)


@cli.command()
@_name
def down(name: str) -> None:
    """End a sandbox."""
    path = running(project_root(), checked_name(name))
    _ask(path, {"do": "stop"}, name)
    deadline = time.monotonic() + _STOP_SECONDS
    while path.exists():
        if time.monotonic() > deadline:
            _refuse(f"sandbox {name!r} does not end; its folder is {path}")
        time.sleep(0.02)
    _say(f"sandbox {name!r} is down")


@cli.command()
@_json
@_name
def status(as_json: bool, name: str) -> None:
    """Print how to connect to a sandbox. Exit code 1 where none is ready."""
    root = project_root()
    try:
        found = _ask(running(root, checked_name(name)), {"do": "status"}, name)["status"]
    except NotUp:
        if not as_json:
            raise
        found = {"ready": False}
    if as_json:
        _say(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            _say(line)
    sys.exit(0 if found["ready"] else 1)


@cli.command()
@_json
@_name
def faults(as_json: bool, name: str) -> None:
    """List the faults that there are, and which checks each turns red."""
    from sandbox.faults import registry

    try:
        active = _ask(running(project_root(), checked_name(name)), {"do": "status"}, name)["status"]["faults"]
    except NotUp:
        active = []
    if as_json:
        listed = [
            {"id": f.id, "turns_red": f.turns_red, "description": f.description, "active": f.id in active}
            for f in registry().values()
        ]
        _say(json.dumps(listed, indent=2))
        return
    for one in registry().values():
        _say(f"{'*' if one.id in active else ' '} {one.id}: {one.description} [{', '.join(one.turns_red)}]")


@cli.command("break")
@click.argument("ids", metavar="FAULT...", nargs=-1, required=True)
@_name
def break_(ids: tuple[str, ...], name: str) -> None:
    """Break something."""
    _act("break", ids, name)


@cli.command()
@click.argument("ids", metavar="[FAULT]...", nargs=-1)
@_name
def heal(ids: tuple[str, ...], name: str) -> None:
    """Heal what was broken; all of it where no fault is named."""
    _act("heal", ids, name)


def _act(do: str, ids: tuple[str, ...], name: str) -> None:
    answer = _ask(running(project_root(), checked_name(name)), {"do": do, "faults": ids}, name)
    for line in answer["lines"] or ["no fault is active"]:
        _say(line)


def _ask(path: Path, request: dict[str, Any], name: str) -> control.Answer:
    try:
        answer = control.ask(path / "control", request)
    except TimeoutError:
        _refuse(f"sandbox {name!r} does not answer")
    except OSError:
        raise NotUp(name) from None
    if not answer["ok"]:
        if answer.get("usage"):
            raise UsageError(answer["error"])
        _refuse(answer["error"])
    return answer


def _lines(found: dict[str, Any]) -> list[str]:
    """A status for people: one line an address."""
    flat = {k: v for k, v in found.items() if not isinstance(v, dict | list)}
    lines = [f"{key:<17} {value}" for key, value in flat.items()]
    lines += [f"{'host':<17} {host} at {address}" for host, address in found.get("hosts", {}).items()]
    lines += [f"{'fault':<17} {fault}" for fault in found.get("faults", [])]
    return lines


def _detach(latency: float, name: str) -> NoReturn:
    """Start the same command in a session of its own, pass on what it says, leave it alone when it is ready."""
    argv = [sys.executable, "-m", "sandbox", "up", "--name", name, "--latency", f"{latency}s"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryFile("w+") as errors:  # not our own stderr: whoever reads that would wait for the sandbox
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True
        )
        assert child.stdout is not None
        ready = False
        try:
            for line in child.stdout:
                ready = line.startswith(_READY)
                if ready:
                    _say(f"{line.partition(';')[0]}; `python -m sandbox down` stops it")
                    sys.exit(0)
                _say(line.rstrip("\n"))
        finally:
            if not ready:
                child.terminate()
                child.wait()
        errors.seek(0)
        _refuse(errors.read().strip())


def _say(text: str) -> None:
    """Print, as long as somebody listens."""
    try:
        click.echo(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _refuse(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(1)


def main() -> None:
    """The command; every foreseeable trouble is one sentence on stderr."""
    try:
        cli(prog_name="python -m sandbox", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as e:
        click.echo(e.format_message(), err=True)
        sys.exit(2)
    except UsageError as e:
        click.echo(str(e), err=True)
        sys.exit(2)
    except (AlreadyUp, NotUp) as e:
        _refuse(str(e))


if __name__ == "__main__":
    main()
