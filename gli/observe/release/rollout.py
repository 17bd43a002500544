"""Waiting for a deployment to end (`--await-rollout`): first the deploy workflows, then what they started in ECS.

Whatever else is observed waits for this, so that nothing is judged half-way. What is observed before, `early`, is what
the deployment is about, and how far it is.
"""

from __future__ import annotations

from contextlib import suppress

from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.github_runs import workflows_ended


class RolledOut(Observation):
    """What had not ended when the patience did: `gli_api-server: queued`, `stg-gli-api: IN_PROGRESS`."""

    unfinished: tuple[str, ...]


@probe(early=True)
async def rolled_out(observer: Observer) -> RolledOut:
    """The end of everything that deploys the environment. What can't be seen is not waited for: its checks say so."""
    runs = await workflows_ended(observer)
    unfinished = [f"{run.repository}: {run.status or 'no run'}" for run in runs if not run.ended]
    if observer.environment.aws is not None:
        from gli.observe.aws.ecs_services import ecs_services

        with suppress(Unobserved):
            services = await observer.see(ecs_services)
            unfinished += sorted(f"{s.name}: IN_PROGRESS" for s in services.values() if s.rolling)
    return RolledOut(unfinished=tuple(unfinished))
