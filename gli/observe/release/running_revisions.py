"""The revisions that the environment runs, by repository: they show that staging tested the commits to be merged."""

from __future__ import annotations

from collections.abc import Mapping

from gli.common.sentences import Said, phrase
from gli.config.services import Service
from gli.observe.aws.ecr import registry_image, running_image
from gli.observe.edge.frontend import index
from gli.observe.edge.http import served_revisions
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.builds import Build, build
from gli.observe.release.deployed_releases import deployments
from gli.observe.release.git_refs import TIMEOUT_S, heads
from gli.observe.release.github_runs import deployed_release


class Evidence(Observation):
    """The revisions that run of one repository, and the head of its branch."""

    repository: str
    head: str
    """The commit at the head of the environment's branch."""
    running: Mapping[str, tuple[Said, ...]]
    """Service or frontend built from the repository to the revisions it reports; more than one during a rollout. One
    that tells no revision is left out."""


class WayBack(Observation):
    """Where a rollback of one repository would go."""

    repository: str
    tag: str | None
    """The newest deploy tag that most repositories have."""
    commit: str | None
    """The commit of the tag in this repository; None if the repository lacks the tag."""
    without_image: tuple[str, ...] = ()
    """The ECR repositories that no longer have the image of that release."""


@probe(deadline=TIMEOUT_S)
async def way_back(observer: Observer, repository: str) -> WayBack:
    """The deploy tag to go back to, and whether the images of that release are still there."""
    tag = (await observer.see(deployments)).way_back
    commit = (await observer.see(heads, repository)).tags.get(tag or "")
    built = [s for s in observer.environment.ecs if s.repository == repository and s.image]
    images = [await observer.see(registry_image, service) for service in built]
    lost = tuple(i.repository for i in images if tag in i.without_way_back)
    return WayBack(repository=repository, tag=tag, commit=commit, without_image=lost)


@probe(deadline=20)
async def evidence(observer: Observer, repository: str) -> Evidence:
    """The revisions that run: of a service its own answer or else its image's tag, of a frontend its build tag."""
    environment = observer.environment
    running: dict[str, tuple[str, ...]] = {}
    head = (await observer.see(deployed_release)).commit_of(repository)
    for service in environment.services.values():
        if service.repository == repository and environment.tells_revision(service):
            running[service.name] = await _of_service(observer, service, head)
    for frontend in environment.frontends.values():
        if frontend.repository == repository and environment.tells_revision(frontend):
            seen, wanted = (await observer.see(index, frontend)).build, await observer.see(build, frontend)
            running[frontend.name] = (_commit(seen, frontend.version, wanted, head) or phrase("no build tag"),)
    return Evidence(repository=repository, head=head, running=running)


async def _of_service(observer: Observer, service: Service, head: str) -> tuple[str, ...]:
    wanted = await observer.see(build, service)
    if service.version_path:
        seen = await observer.see(served_revisions, service)
        return (*sorted(_commit(found, service.version, wanted, head) or found for found in seen.counts), *seen.errors)
    tag = (await observer.see(running_image, service)).tag
    return (_commit(tag, service.tag, wanted, head) or phrase("an image without a tag"),)


def _commit(spelt: str | None, template: str, wanted: Build, head: str) -> str | None:
    """The head where a revision or a tag names its build, else what it is."""
    return head if wanted.is_named(spelt, template) else spelt
