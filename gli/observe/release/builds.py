"""The commits of which a service or a page may be a build: every check that compares a revision asks here.

It is the head of the environment's branch, and with it: of a service with `paths`, the older commits back to the one
that last changed its files (a monorepo builds nothing else again); with `built_once`, the commits of any branch with
the same tree (an image is built for the first stage; a promotion merges that commit without changing a file).
Of a service with a series of release tags of its own, it is the commit of the newest tag in place of the head.
"""

from __future__ import annotations

from collections.abc import Mapping

from gli.common.sentences import Said, listed, phrase
from gli.config.services import Frontend, Service
from gli.config.values import names_tag, spelt
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_history import history
from gli.observe.release.git_refs import TIMEOUT_S, Heads, heads, release, release_tags
from gli.observe.release.github_runs import deployed_release


class Build(Observation):
    """The commits that hold the same files of a service or page, newest first."""

    commits: tuple[str, ...]
    release_tags: Mapping[str, str] = {}
    """Commit to its newest release tag, where releases are tags."""
    form: str = ""
    """The form of these tags."""

    def spelt(self, template: str) -> tuple[str, ...]:
        """How a revision or a tag may name this build, newest first."""
        named = [c for c in self.commits if c in self.release_tags] if names_tag(template) else self.commits
        return tuple(spelt(template, commit, self.release_tags.get(commit, ""), self.form) for commit in named)

    def is_named(self, seen: str | None, template: str) -> bool:
        """Whether a revision or a tag names this build."""
        return seen in self.spelt(template)

    def expected(self, template: str) -> Said:
        """What a revision or a tag should be, for a message."""
        names = self.spelt(template)
        several = phrase("{} or a build of the same files, as far back as {}", names[0], names[-1])
        return several if len(names) > 1 else names[0]


@probe(deadline=TIMEOUT_S)
async def build(observer: Observer, target: Service | Frontend) -> Build:
    """The build that a service or page should run. Raises `Unobserved` if none is known.

    The head counts for a target with `paths`, whatever commit the repository's workflow deployed last.
    """
    if target.release_tag:
        return await build_of(observer, target, newest_of((await observer.see(heads, target.repository)), target))
    seen = await observer.see(release if target.paths else deployed_release)
    return await build_of(observer, target, seen.commit_of(target.repository))


def newest_of(known: Heads, target: Service | Frontend) -> str:
    """The commit of the newest tag of the target's own series. Raises `Unobserved` if there is no such tag."""
    if known.error is not None:
        raise unknown("dependency", phrase("the branches of {} could not be listed: {}", known.repository, known.error))
    tags = release_tags(known.tags, target.release_tag)
    if not tags:
        raise unknown("not-found", phrase("{} has no tag of the form {}", known.repository, target.release_tag))
    return known.tags[tags[0]]


async def build_of(observer: Observer, target: Service | Frontend, commit: str) -> Build:
    """The build of a service or page that holds the files of the head of the branch, or of a deploy tag's commit.

    Raises `Unobserved` if no commit changed its paths.
    """
    tagged: dict[str, str] = {}
    if form := target.release_tag or observer.environment.release_tag:
        tags = (await observer.see(heads, target.repository)).tags
        tagged = {tags[tag]: tag for tag in reversed(release_tags(tags, form))}
    if not (target.paths or observer.environment.built_once):
        return Build(commits=(commit,), release_tags={commit: tagged[commit]} if commit in tagged else {}, form=form)
    same = (await observer.see(history, target.repository)).builds.get(commit, {}).get(target.name, ())
    if not same:
        said = phrase(
            "no commit of {} changes {}: mend the paths of {}", target.repository, listed(target.paths), target.name
        )
        raise unknown("not-found", said)
    return Build(commits=same, release_tags={c: tagged[c] for c in same if c in tagged}, form=form)
