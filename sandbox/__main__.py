"""`python -m sandbox`: a replica of staging, or of production, on this machine."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn

import click

from gli.common import standard_streams
from gli.common.errors import UsageError
from sandbox import control
from sandbox.state import ENVIRONMENT, AlreadyUp, NotUp, Place, running

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


Command = Callable[..., None]


def _placed(command: Command) -> Command:
    """Add the options that name one sandbox to a command, which receives them as `place`."""

    @click.option(
        "--name", envvar="GLI_SANDBOX", default="default", show_default=True, help="Which one, where several are up."
    )
    @click.option("--env", metavar="NAME", default=ENVIRONMENT, show_default=True, help="Which environment it plays.")
    @wraps(command)
    def called(name: str, env: str, **options: Any) -> None:
        command(place=Place.of(name, env), **options)

    return called


_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def cli() -> None:
    """A faithful replica of staging or production on this machine: faults to break it with, healthy variants to try."""


@cli.command()
@click.option("--detach", is_flag=True, help="Return when it is ready; `down` ends it.")
@click.option("--latency", type=_Latency(), default="0ms", show_default=True, help="Delay every answer by this much.")
@click.option("--variant", "varied", metavar="NAME", multiple=True, help="Start with this variant; may be repeated.")
@_placed
def up(detach: bool, latency: float, varied: tuple[str, ...], place: Place) -> None:
    """Start a sandbox and keep it until Ctrl-C."""
    if varied:
        from sandbox import switches, variants

        switches.find(variants.known(), varied, "variant")
    if detach:
        _detach(latency, varied, place)
    from sandbox.foreground import keep

    keep(place, latency, varied, _say)


@cli.command()
@_placed
def down(place: Place) -> None:
    """End a sandbox."""
    path, name = running(place), place.link.name
    _ask(place, {"do": "stop"})
    deadline = time.monotonic() + _STOP_SECONDS
    while path.exists():
        if time.monotonic() > deadline:
            _refuse(f"sandbox {name!r} does not end; its folder is {path}")
        time.sleep(0.02)
    _say(f"sandbox {name!r} is down")


@cli.command()
@_json
@_placed
def status(as_json: bool, place: Place) -> None:
    """Print how to connect to a sandbox. Exit code 1 if no sandbox is ready."""
    try:
        found = _ask(place, {"do": "status"})["status"]
    except NotUp:
        if not as_json:
            raise
        found = {"ready": False}
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            click.echo(line)
    sys.exit(0 if found["ready"] else 1)


@cli.command()
@_json
@_placed
def faults(as_json: bool, place: Place) -> None:
    """List the known faults, and which checks each turns red."""
    from sandbox.faults import known

    try:
        active = _ask(place, {"do": "status"})["status"]["faults"]
    except NotUp:
        active = []
    if as_json:
        listed = [
            {
                "id": f.id,
                "turns_red": f.turns_red,
                "description": f.description,
                "active": f.id in active,
                "production": f.production,
            }
            for f in known().values()
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    for one in known().values():
        checks = ", ".join(one.turns_red) + ("; production only" if one.production else "")
        click.echo(f"{'*' if one.id in active else ' '} {one.id}: {one.description} [{checks}]")


@cli.command()
@_json
@_placed
def variants(as_json: bool, place: Place) -> None:
    """List the known healthy variants."""
    from sandbox.variants import known

    try:
        active = _ask(place, {"do": "status"})["status"]["variants"]
    except NotUp:
        active = []
    if as_json:
        listed = [
            {"id": v.id, "tries": v.tries, "description": v.description, "active": v.id in active}
            for v in known().values()
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    for one in known().values():
        click.echo(f"{'*' if one.id in active else ' '} {one.id}: {one.description}")


@cli.command("break")
@click.argument("ids", metavar="FAULT...", nargs=-1, required=True)
@_placed
def break_(ids: tuple[str, ...], place: Place) -> None:
    """Switch faults on."""
    _act(place, {"do": "break", "ids": ids})


@cli.command()
@click.argument("ids", metavar="[FAULT]...", nargs=-1)
@_placed
def heal(ids: tuple[str, ...], place: Place) -> None:
    """Heal the named faults, or all of them if none is named."""
    _act(place, {"do": "heal", "ids": ids})


@cli.command()
@click.argument("ids", metavar="VARIANT...", nargs=-1, required=True)
@_placed
def vary(ids: tuple[str, ...], place: Place) -> None:
    """Change to a healthy variant."""
    _act(place, {"do": "vary", "ids": ids})


@cli.command()
@click.argument("ids", metavar="[VARIANT]...", nargs=-1)
@_placed
def restore(ids: tuple[str, ...], place: Place) -> None:
    """Undo the named variants, or all of them if none is named."""
    _act(place, {"do": "restore", "ids": ids})


@cli.command()
@_placed
def deploy(place: Place) -> None:
    """Deploy the current heads of the environment's branch, as its workflows do on a push."""
    _act(place, {"do": "deploy"})


@cli.command("run-workflow")
@click.argument("repository")
@_placed
def run_workflow(repository: str, place: Place) -> None:
    """Run the deploy workflow of a repository for the head of the environment's branch. Exit code 1 if it fails."""
    from sandbox.runner import command

    if not command.run_workflow(place, running(place) / "control", repository, _say):
        _refuse(f"the deploy workflow of {repository} failed")


def _act(place: Place, request: dict[str, Any]) -> None:
    answer = _ask(place, request)
    for line in answer["lines"] or ["nothing is active"]:
        _say(line)


def _ask(place: Place, request: dict[str, Any]) -> control.Answer:
    try:
        answer = control.ask(running(place) / "control", request)
    except TimeoutError:
        _refuse(f"sandbox {place.link.name!r} does not answer")
    except OSError:
        raise NotUp(place) from None
    if not answer["ok"]:
        if answer.get("usage"):
            raise UsageError(answer["error"])
        _refuse(answer["error"])
    return answer


def _lines(found: dict[str, Any]) -> list[str]:
    """The status as text: one line for each address."""
    flat = {k: v for k, v in found.items() if not isinstance(v, dict | list)}
    lines = [f"{key:<17} {value}" for key, value in flat.items()]
    lines += [f"{'host':<17} {host} at {address}" for host, address in found.get("hosts", {}).items()]
    lines += [f"{kind:<17} {one}" for kind in ("fault", "variant") for one in found.get(f"{kind}s", [])]
    return lines


def _detach(latency: float, varied: Sequence[str], place: Place) -> NoReturn:
    """Start the same command in a new process session, print its output, and return when the sandbox is ready."""
    which = ["--name", place.name, "--env", place.environment]
    argv = [sys.executable, "-m", "sandbox", "up", *which, "--latency", f"{latency}s"]
    argv += [word for name in varied for word in ("--variant", name)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryFile("w+") as errors:  # not our own stderr: its reader would wait until the sandbox ends
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True
        )
        assert child.stdout is not None
        ready = False
        try:
            for line in child.stdout:
                ready = line.startswith(_READY)
                if ready:
                    _say(f"{line.partition(';')[0]}; `python -m sandbox down{place.options}` stops it")
                    sys.exit(0)
                _say(line.rstrip("\n"))
        finally:
            if not ready:
                child.terminate()
                child.wait()
        errors.seek(0)
        _refuse(errors.read().strip())


def _say(text: str) -> None:
    """Print; ignore a reader that has gone."""
    try:
        click.echo(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _refuse(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(1)


def main() -> None:
    """Run the command; print each expected error as one sentence on stderr."""
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
    except OSError as e:
        if not (isinstance(e, BrokenPipeError) or standard_streams.has_no_room(e)):
            raise
        standard_streams.leave_output()
        if isinstance(e, BrokenPipeError):
            sys.exit(1)
        click.echo(f"the output can't be written: {e.strerror}", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
