"""`gli promote`, `gli rollback` and `gli push`: the commands that move branches, and how people approve them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from gli.cli.options import env, sentences
from gli.common.clock import now
from gli.common.errors import UsageError
from gli.common.standard_streams import leave_output
from gli.git import identity
from gli.git.command import GitFailed
from gli.release import promote as promotions
from gli.release import settings, take_over
from gli.release.engine import Operation
from gli.release.plan import Refused, because
from gli.release.session import Approval, Approve, Request, Session, session

if TYPE_CHECKING:
    from gli.config.environments import Environment

_WIDTH = 80
_ROLLOUT_S = 1800
"""How long the run after a deployment waits for the workflows that the push started."""


class Asked(NamedTuple):
    """How a call is approved, and whether it only tries (`--dry-run`)."""

    approve: Approve
    dry_run: bool

    @property
    def say(self) -> Callable[[str], None]:
        """How progress is printed: what a dry run prints is its result."""
        return _shown if self.dry_run else _told


def _approving(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of approval to a command. The command gets them as one argument, `asked`."""

    @wraps(command)
    def told(
        *arguments: Any, dry_run: bool, yes: bool, approved_id: str | None, approved_by: str | None, **more: Any
    ) -> None:
        command(*arguments, asked=Asked(_asking(yes, approved_id, approved_by), dry_run), **more)

    options = (
        click.option("--dry-run", is_flag=True, help="Do everything up to the first push, and push nothing."),
        click.option("--yes", is_flag=True, help="Answer yes to the first question; production asks a second one."),
        click.option("--approve", "approved_id", metavar="ID", help="In CI: the id that --dry-run printed."),
        click.option("--approved-by", metavar="NAME", help="The person who approves: not the person who runs this."),
    )
    for option in reversed(options):
        told = option(told)
    return told


@click.command()
@click.argument("source", metavar="FROM", required=False)
@click.argument("target", metavar="TO", required=False)
@click.option("--resume", is_flag=True, help="Finish an operation that a crash left unfinished.")
@click.option("--undo", is_flag=True, help="Take back an operation that a crash left unfinished.")
@click.option("--take-over", "taken", metavar="ID", help="Take back the unfinished operation of another machine.")
@click.option("--reinstate", is_flag=True, help="Bring back a release that was rolled back.")
@click.option("--override-freeze", metavar="REASON", help="Why to promote in a freeze window; the reason is recorded.")
@click.option(
    "--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="The folder of the reports."
)
@env
@sentences
@_approving
def promote(
    source: str | None,
    target: str | None,
    resume: bool,
    undo: bool,
    taken: str | None,
    reinstate: bool,
    override_freeze: str | None,
    report_dir: Path,
    asked: Asked,
    name: str,
) -> None:
    """Merge FROM into TO in all repositories, or in none. Exit code 0: done, 1: refused or undone, 3: can't tell.

    The branches are git.branches of environments.toml, by default dev, stg and main: each moves into the next, and back
    into the one before. The promotion into the last branch asks the gate first. --resume and --undo, without branches,
    end an operation that a crash left on this machine; --take-over ends one that another machine left.
    """
    root = Path.cwd()
    if taken is not None:
        if source is not None or resume or undo or asked.dry_run:
            raise UsageError("--take-over ID stands alone, without branches: it takes back what another machine left")
        with _released(root, name, _told) as opened:
            take_over.take_over(opened, taken, approve=asked.approve)
        return
    if resume or undo:
        if source is not None or resume == undo or asked.dry_run:
            raise UsageError("--resume or --undo stands alone, without branches: it ends what was left half-finished")
        with _released(root, name, _told) as opened:
            ended = promotions.recover(opened, "resume" if resume else "undo")
            if ended is None:
                _shown("nothing is half-finished on this machine")
            else:
                _told(_done(ended))
        return
    if override_freeze is not None:
        because(override_freeze, 'an override needs its reason: --override-freeze "Why it can not wait"')
    if source is None or target is None:
        ways = settings.read(root, name).branches.ways
        raise UsageError(f"say from where to where, as in: gli promote {' '.join(ways[0]) if ways else 'FROM TO'}")
    with _released(root, name, asked.say) as opened:
        live = target == opened.settings.branches.live
        operation = promotions.promote(
            opened,
            source,
            target,
            approve=asked.approve,
            gate=lambda heads: _gate(root, name, report_dir, heads),
            frozen=lambda: _frozen(root, name) if live else None,
            choices=promotions.Choices(asked.dry_run, reinstate, override_freeze),
        )
        _told(_done(operation))
    if live:
        _after(root, name, operation)


@click.command()
@click.argument("tag", required=False)
@click.option("--previous", is_flag=True, help="Go back to the release before the live one.")
@click.option("-m", "--reason", required=True, help="The reason, for the log and the tag.")
@click.option(
    "--mode",
    type=click.Choice(["forward", "reset"]),
    default="forward",
    show_default=True,
    help="forward: a new commit with the old tree. reset: move the live branch itself back (needs --approved-by).",
)
@click.option(
    "--ack-migrations", is_flag=True, help="Confirm that the old code works with the database's new migrations."
)
@env
@sentences
@_approving
def rollback(
    tag: str | None,
    previous: bool,
    reason: str,
    mode: Literal["forward", "reset"],
    ack_migrations: bool,
    asked: Asked,
    name: str,
) -> None:
    """Take the live branch (main) of all repositories back to a release, or of none.

    Exit code 0: done, 1: refused or undone, 3: can't tell. TAG is a deploy tag. The release that is taken off
    is on hold: gli promote refuses it without --reinstate.
    """
    from gli.release import rollback as rollbacks

    if previous == (tag is not None):
        raise UsageError("say where to: a deploy tag, or --previous")
    root = Path.cwd()
    with _released(root, name, asked.say) as opened:
        operation = rollbacks.rollback(
            opened,
            tag,
            reason=reason,
            approve=asked.approve,
            mode=mode,
            acknowledge_migrations=ack_migrations,
            dry_run=asked.dry_run,
        )
        _told(_done(operation))
    _after(root, name, operation)


@click.command()
@click.argument("branch")
@click.option("-m", "--reason", default="", help="Why it can't wait, for the log and the tag.")
@click.option(
    "--acknowledge", metavar="TAG", help="Confirm, as a second person, that you have seen this emergency push."
)
@env
@sentences
@_approving
def push(
    branch: str,
    reason: str,
    acknowledge: str | None,
    asked: Asked,
    name: str,
) -> None:
    """In an emergency: push what the clones have on BRANCH, without the gate, in all repositories or in none.

    Exit code 0: done, 1: refused or undone, 3: can't tell. BRANCH is one of the last two of git.branches (stg, main). A
    push to the last one opens a debt: normal promotions are refused until it is merged back into the others, and a
    second person has acknowledged the push (or approved it at once with --approved-by).
    """
    from gli.release import emergency

    root = Path.cwd()
    with _released(root, name, asked.say) as opened:
        if acknowledge is not None:
            if asked.dry_run:
                raise UsageError("--acknowledge has no --dry-run: it makes one tag, and moves nothing")
            click.echo(f"done: {emergency.acknowledge(opened, acknowledge)}")
            return
        branches = opened.settings.branches
        frozen = _frozen(root, name) if branch == branches.live else None
        operation = emergency.push(
            opened, branch, reason=reason, approve=asked.approve, frozen=frozen, dry_run=asked.dry_run
        )
        _told(_done(operation))
    if branch == branches.live:
        if branches.earlier:
            lacking = " and ".join(branches.earlier)
            _say(f"not verified, and lacking in {lacking}; merge it back: {branches.merge_back}", "")
        _after(root, name, operation)


@contextmanager
def _released(root: Path, name: str, say: Callable[[str], None]) -> Iterator[Session]:
    """Opens a session. A refusal or a failure ends the command with its reasons and its exit code."""
    chosen = settings.read(root, name)
    try:
        with session(chosen, say) as opened:
            yield opened
    except Refused as e:
        for reason in e.reasons:
            _say(reason, "" if e.code == 0 else "no: ")
        sys.exit(e.code)
    except GitFailed as e:
        _say(str(e), "no: ")
        sys.exit(3)
    except KeyboardInterrupt:
        _say("interrupted; gli doctor says how it stands", "no: ")
        sys.exit(1)


def _asking(yes: bool, approved_id: str | None, approved_by: str | None) -> Approve:
    """How this call is approved: by options, or by the person at the terminal."""
    if approved_by is not None and not approved_by.strip():
        raise UsageError("--approved-by is empty; say who approves it")
    if approved_id is not None and approved_by is None:
        raise UsageError("--approve needs --approved-by NAME: who approves it")

    def approve(request: Request) -> Approval:
        if approved_by is not None and identity.may_be_one(approved_by, request.requested_by):
            raise Refused(f"{request.requested_by} runs this; --approved-by must be somebody else")
        if request.second_person == "now" and approved_by is None:
            raise Refused("this needs two people: --approved-by NAME, somebody else than who runs this")
        _say(request.title, "")
        click.echo(f"id {request.id}")
        if approved_id is not None:
            if approved_id != request.id:
                raise Refused(f"--approve {approved_id} is of other commits; what would move now is {request.id}")
        else:
            _ask(request, yes)
        return Approval(approved_by or (None if request.second_person else request.requested_by))

    return approve


def _ask(request: Request, yes: bool) -> None:
    """Shows the summary and asks one question. For production it asks for the id first. Raises `Refused` for a no."""
    try:
        for line in request.lines:
            click.echo(f"  {line}")
        if request.production and not yes and click.prompt("type the id to go on").strip() != request.id:
            raise Refused("that is another id; nothing has moved")
        if request.production or not yes:
            click.confirm("move all of them?", abort=True)
    except click.Abort:
        raise Refused("not confirmed; nothing has moved") from None


def _gate(root: Path, name: str, reports: Path, fetched: promotions.Heads) -> promotions.Evidence:
    """Returns the evidence behind the gate's yes, or raises `Refused` with its reason. `fetched` heads are reused."""
    from gli.config import catalogue, environments
    from gli.gate import gate

    known, environment = catalogue.load(root), environments.load(root, name)

    def heads(of: environments.Environment) -> Mapping[str, str] | None:
        if of.git is None or environment.git is None or of.git.remote != environment.git.remote:
            return gate.heads(of)
        commits = fetched(of.branch)
        return commits if len(commits) == len(of.repositories) else None

    decision = gate.decision(root, known, environment, "pre-deploy", reports, now(), heads)
    if decision.code != gate.YES or decision.verdict is None:
        raise Refused(f"the gate says no: {decision.reason}", *decision.notes, code=decision.code or 1)
    verdict = decision.verdict
    about = {"environment": verdict.environment, "finished": verdict.finished, "digest": verdict.digest}
    return promotions.Evidence(verdict.manifest, about, datetime.fromisoformat(verdict.expires), decision.notes)


def _frozen(root: Path, name: str) -> str | None:
    """The freeze window that is open now, as a sentence."""
    from gli.config import environments
    from gli.release import freeze

    table = environments.load(root, name).git
    window = freeze.frozen(table.freeze, now()) if table is not None else None
    return freeze.says(window) if window is not None else None


def _after(root: Path, name: str, operation: Operation) -> None:
    """After a deployment: sends messages, prints the checklist, and offers the run that proves the deployment.

    The operation is done by then, so a failure here is a warning only.
    """
    from gli.config import environments

    try:
        live = environments.load(root, name).other
        if live is not None:
            _tell_after(root, live, operation)
    except UsageError as e:
        _say(str(e), "WARNING: ")


def _tell_after(root: Path, live: Environment, operation: Operation) -> None:
    from gli.config import catalogue
    from gli.report import sinks, texts

    tag = str(operation.tag)
    for problem in sinks.tell_deployment(live, tag, _done(operation), root / "reports", language=texts.chosen(None)):
        _say(problem, "WARNING: ")
    items = catalogue.load(root).checklists["post-deploy"].shown_in(live)
    click.echo("now, the checklist after a deployment:")
    for item in items:
        _say(item.text.en, f"  {item.id}  ")
    run = ["pytest", f"--env={live.name}", "--phase=post-deploy", f"--await-rollout={_ROLLOUT_S}"]
    click.echo(f"it is proven by: {' '.join(run)}")
    try:
        run_now = sys.stdin.isatty() and click.confirm("run it now?")
    except click.Abort:
        run_now = False
    if run_now:
        subprocess.run([sys.executable, "-m", *run], cwd=root, check=False)


def _done(operation: Operation) -> str:
    moved = sum(move.moves for move in operation.moves.values())
    return f"done: {operation.tag or operation.id}, {moved} of {len(operation.moves)} repositories moved"


def _told(text: str) -> None:
    """Prints a progress sentence. A closed pipe or a full disk must not stop the operation."""
    try:
        _say(text, "")
    except OSError as e:
        if not isinstance(e, BrokenPipeError):
            click.echo(f"gli: the output can't be written: {e.strerror}", err=True)
        leave_output()


def _shown(text: str) -> None:
    """Prints a sentence that is the result of the command. If it can't be written, the command has failed."""
    _say(text, "")


def _say(text: str, mark: str) -> None:
    """Prints a sentence wrapped at 80 columns; the lines after the first are indented by the width of `mark`."""
    click.echo("\n".join(textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))))
