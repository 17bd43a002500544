"""Waits for a deployment to end (`--await-rollout`): first for the deploy workflows, then for the rollouts in ECS.

All other probes wait for this one, so that no check judges a half-done deployment. Only probes marked `early` run
before: they observe which release is deployed and how far the deployment is.
"""

from __future__ import annotations

from contextlib import suppress

from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.github_runs import workflows_ended


class RolledOut(Observation):
    """What had not ended when the time to wait was over: `gli_api-server: queued`, `stg-gli-api: IN_PROGRESS`."""

    unfinished: tuple[str, ...]


@probe(early=True)
async def rolled_out(observer: Observer) -> RolledOut:
    """Waits until every deployment of the environment has ended, except those that can't be observed."""
    runs = await workflows_ended(observer)
    unfinished = [f"{run.repository}: {run.status or 'no run'}" for run in runs if not run.ended]
    if observer.environment.aws is not None:
        from gli.observe.aws.ecs_services import ecs_services

        with suppress(Unobserved):
            services = await observer.see(ecs_services)
            unfinished += sorted(f"{s.name}: IN_PROGRESS" for s in services.values() if s.rolling)
    return RolledOut(unfinished=tuple(unfinished))
