"""The commits of which a service or a page may be a build: every check that compares a revision asks here.

Without `paths` it is the head of the environment's branch. A monorepo builds a service again only where a commit
changes the service's own files: what it serves is then an older commit, rightly.
"""

from __future__ import annotations

from gli.common.sentences import Said, listed, phrase
from gli.config.services import Frontend, Service
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_history import history
from gli.observe.release.git_refs import TIMEOUT_S
from gli.observe.release.github_runs import deployed_release


class Build(Observation):
    """The commits that hold the same files of a service or page, newest first."""

    commits: tuple[str, ...]

    def spelt(self, template: str) -> tuple[str, ...]:
        """How a revision or a tag may name this build, newest first."""
        return tuple(template.format(commit=commit) for commit in self.commits)

    def is_named(self, seen: str | None, template: str) -> bool:
        """Whether a revision or a tag names this build."""
        return seen in self.spelt(template)

    def expected(self, template: str) -> Said:
        """What a revision or a tag should be, for a message."""
        names = self.spelt(template)
        older = phrase("{}, or an older one back to {}, which last changed its paths", names[0], names[-1])
        return older if len(names) > 1 else names[0]


@probe(deadline=TIMEOUT_S)
async def build(observer: Observer, target: Service | Frontend) -> Build:
    """The commits of which a service or page may be a build. Raises `Unobserved` if none is known."""
    head = (await observer.see(deployed_release)).commit_of(target.repository)
    if not target.paths:
        return Build(commits=(head,))
    same = (await observer.see(history, target.repository)).builds.get(target.name, ())
    if not same:
        said = phrase(
            "no commit of {} changes {}: mend the paths of {}", target.repository, listed(target.paths), target.name
        )
        raise unknown("not-found", said)
    return Build(commits=same)
