"""`gli continue`: verifies the new tasks of a paused deployment, and answers ECS with CONTINUE or ROLLBACK."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from gli.cli.options import sentences
from gli.common import clock
from gli.common.errors import UsageError
from gli.common.sentences import listed
from gli.config import catalogue, environments
from gli.config.parts import Gate
from gli.config.phases import PAUSED
from gli.gate import gate as gates
from gli.provision import paused as pauses
from gli.provision.account import Account, ProvisionError
from gli.provision.paused import Paused
from gli.report import sinks

ROLE = "GLI_VERIFY_ROLE_ARN"
"""The variable with the role that the verification takes: the role that answers ECS may do more than look."""
_MARGIN = timedelta(seconds=60)
"""The answer is given so long before the hook's own end."""


@click.command()
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@click.option("--deployment", metavar="ARN", help="Decide on this deployment alone; default: every one that pauses.")
@click.option("--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="Where the reports go.")
@sentences
def continue_(name: str, deployment: str | None, report_dir: Path) -> None:
    """Verify the new tasks of a paused deployment, then let users have them, or roll it back.

    Waits until ECS has paused the deployment at its hook, runs pytest --phase=paused through the test listener, and
    answers: CONTINUE for a GO of the commits that wait, ROLLBACK for everything else, an interruption included. Exit
    code 0: CONTINUE was given; 1: ROLLBACK was given; 3: nothing waits, or AWS could not be told.
    """
    root = Path.cwd()
    environments.load(root, name).through_test_listener()  # refuses an environment without one, before anything starts
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    waiting: list[Paused] = []
    reasons, refused = ["it was interrupted"], 1
    account = _account(root, name)
    try:
        for paused in _pausing(account, deployment):
            waiting.append(paused)
        reasons = _against(root, account, waiting, report_dir)
    except (ProvisionError, UsageError) as e:
        reasons, refused = [str(e)], e.exit_code if isinstance(e, ProvisionError) else 2
    finally:  # also for an error that nobody expects
        code = _answer(account, waiting, reasons) if waiting else refused
    if not waiting:
        click.echo(f"gli: {reasons[0]}", err=True)
    sys.exit(code)


def _account(root: Path, name: str) -> Account:
    try:
        return Account(environments.load(root, name))
    except ProvisionError as e:
        click.echo(f"gli: {e}", err=True)
        sys.exit(e.exit_code)


def _pausing(account: Account, deployment: str | None) -> Iterator[Paused]:
    """The deployments to decide on, each once it has paused at its hook."""
    found = pauses.under_way(account)
    if deployment is not None:
        found = {arn: ecs for arn, ecs in found.items() if arn == deployment}
    if not found:
        which = f"the deployment {deployment}" if deployment else f"a deployment of {account.environment.name}"
        raise ProvisionError(f"{which} that pauses is not under way: nothing to decide", known=False)
    click.echo(f"waiting until ECS pauses: {listed(sorted(ecs.service for ecs in found.values()))}")
    for arn, ecs in found.items():
        yield pauses.await_pause(account, ecs, arn)


def _against(root: Path, account: Account, waiting: Sequence[Paused], reports: Path) -> list[str]:
    """Why users must not get the new tasks; empty only for a GO of exactly what waits."""
    environment = account.environment
    for paused in waiting:
        if paused.at_the_end != "ROLLBACK":
            click.echo(
                f"WARNING: without an answer, ECS goes on with {paused.service}: set the hook's action to ROLLBACK"
            )
    unseen = [*filter(None, (pauses.unseen(account, paused) for paused in waiting))]
    if unseen:
        return unseen
    begun, ends = clock.now(), min(paused.expires for paused in waiting) - _MARGIN
    # -P: files of this folder take no module's place
    command = [sys.executable, "-P", "-m", "pytest", f"--env={environment.name}", f"--phase={PAUSED}"]
    role = os.environ.get(ROLE)
    env = {**os.environ, **(account.as_role(role) if role else {})}
    left_s = max((ends - begun).total_seconds(), 0)
    try:
        done = subprocess.run([*command, f"--report-dir={reports}"], cwd=root, env=env, timeout=left_s, check=False)
    except subprocess.TimeoutExpired:
        return [f"the verification had not ended at {ends:%H:%M:%S} UTC, a minute before the hook's own end"]
    if done.returncode != 0:
        return [f"the verification ended with {done.returncode}"]
    return _unproven(root, account, waiting, reports, begun)


def _unproven(root: Path, account: Account, waiting: Sequence[Paused], reports: Path, begun: datetime) -> list[str]:
    """What is missing in the verdict that the run left: the gate reads it as it reads every verdict."""
    environment, known, now = account.environment, catalogue.load(root), clock.now()
    evidence = gates.gathered(root, known, environment, PAUSED, reports, now, gates.heads)
    # [ENV.gate] is about the whole checklist, and the cells about the whole environment; this is about new tasks alone
    evidence = replace(evidence, demands=Gate(), cells=())
    decision = gates.judged(evidence, catalogue_sha256=known.sha256, now=now)
    if decision.code != gates.YES or decision.verdict is None:
        return [decision.reason]
    if clock.moment(decision.verdict.started) < begun.replace(microsecond=0):
        return ["the newest verdict is older than this verification"]
    if decision.verdict.phase != PAUSED:
        return ["the newest verdict is of a run that did not look at the new tasks"]
    manifest: dict[str, Any] = dict(decision.verdict.manifest)
    reasons = []
    for paused in waiting:
        repositories = {s.repository for s in environment.services.values() if paused.is_of(s)}
        verified, tags = {manifest.get(r, {}).get("commit", "") for r in repositories}, pauses.tags(account, paused)
        if tags != verified or "" in tags:
            waits = listed(sorted(tags)) or "no image"
            reasons.append(f"{paused.service} waits with {waits}, verified was {listed(sorted(verified))}")
        if not pauses.still(account, paused):
            reasons.append(f"{paused.service} no longer waits with what was verified")
    return reasons


def _answer(account: Account, waiting: Sequence[Paused], reasons: Sequence[str]) -> int:
    """Answer every deployment alike; the exit code."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)  # the answer comes first
    services = listed(sorted(paused.service for paused in waiting))
    action: pauses.Action = "ROLLBACK" if reasons else "CONTINUE"
    problems = pauses.answer(account, waiting, action)
    if problems and not reasons:  # one may have gone on: the others must not stay undecided
        problems += pauses.answer(account, waiting, "ROLLBACK")
    sinks.say([f"{action}: {services}", *(f"  {reason}" for reason in reasons)])
    for problem in problems:
        click.echo(f"gli: {problem}", err=True)
    return 3 if problems else 1 if reasons else 0
