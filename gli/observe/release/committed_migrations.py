"""The migrations in the branches of a repository: their names, what they make, and the review of those that are new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gli.config.environments import Environment
from gli.config.parts import Git
from gli.observe.release.bare_repository import Bare
from gli.observe.release.migration_columns import replaced, schema
from gli.observe.release.migration_review import review
from gli.observe.release.migrations import ALEMBIC, Squash, alembic_heads, flyway_versions, in_paths, recorded_names


async def migration_fields(
    bare: Bare, environment: Environment, repository: str, commits: Mapping[str, str]
) -> dict[str, Any]:
    """The fields of `History` about migrations."""
    database = environment.database
    if database is None or repository != database.migrations:
        return {}
    if record := database.record:
        return {"migrations": recorded_names(record, await bare.files(environment.branch))}
    if database.migrated_by == "alembic":
        return {"migrations": await _alembic_heads(bare, environment.branch)}
    if database.migrated_by == "flyway":
        return {"migrations": flyway_versions(await bare.files(environment.branch))}
    assert environment.git is not None
    return await _migrations(bare, environment.branch, commits, environment.git)


async def _alembic_heads(bare: Bare, branch: str) -> tuple[tuple[str, str], ...]:
    """The newest revisions of Alembic's files `*/versions/*.py` on a branch: the database has them on record alone."""
    files = {path: id_ for path, id_ in (await bare.files(branch)).items() if ALEMBIC.search(path)}
    await bare.need(sorted({*files.values()}))
    texts = await bare.read([*files.values()])
    return tuple(("alembic", head) for head in alembic_heads(text or "" for text in texts.values()))


async def _migrations(bare: Bare, branch: str, commits: Mapping[str, str], table: Git) -> dict[str, Any]:
    """The migrations of the environment's branch, what they make, and the review of those that the staged branch
    adds."""
    trees = {b: await bare.files(b) for b in dict.fromkeys((branch, *table.deployed)) if b in commits}
    own = {path: object_ for path, object_ in trees.get(branch, {}).items() if in_paths([path])}
    staged = {path: object_ for path, object_ in trees.get(table.staged, {}).items() if in_paths([path])}
    added = tuple(sorted(staged.keys() - trees.get(table.live, {}).keys()))
    folders = {path.rpartition("/")[0] for path in added}
    siblings = sorted(path for path in staged if path.rpartition("/")[0] in folders)
    wanted = sorted({*own.values(), *(staged[path] for path in siblings)})
    if not wanted:
        return {"added": added}
    await bare.need(wanted)
    texts = await bare.read(wanted)
    here = {path: texts[object_] or "" for path, object_ in own.items()}
    return {
        "migrations": in_paths(own),
        "squashes": tuple(
            Squash(app=app, name=name, replaces=of)
            for path, of in sorted(replaced(here).items())
            for app, name in in_paths([path])
        ),
        **schema(here)._asdict(),
        "added": added,
        "findings": review({path: texts[staged[path]] or "" for path in siblings}, added) if siblings else (),
    }
