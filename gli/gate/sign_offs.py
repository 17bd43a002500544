"""Sign-offs: what people confirmed, for which commits, and until when.

Each sign-off is one JSON file, `checklists/sign-offs/<environment>/<manifest>/<item>-<e-mail>.json`. If its author has
a key, an SSH signature lies beside the file. People commit the file. A sign-off without a signature is an assertion,
and the gate says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gli.common import clock
from gli.common.documents import content, parsed
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.config.environments import Environment
from gli.config.toml_models import Table
from gli.gate import signing
from gli.git import identity

FOLDER = Path("checklists/sign-offs")
VALID_FOR = timedelta(hours=24)


class Record(Table):
    """The content of one file."""

    item: str
    environment: str
    result: Literal["ok", "rejected"]
    by: Annotated[str, Field(pattern=r"^[^<>\s][^<>\n]* <[^<>\s]+@[^<>\s]+>$")]
    """`Name <e-mail>`, as git knows the author."""
    at: str
    expires: str
    note: str
    commits: Mapping[str, str]
    """Repository to the commit that was looked at."""


@dataclass(frozen=True)
class Signed:
    """A record that counts, and the signer of its file; `signer` is None if the file has no valid signature."""

    record: Record
    signer: str | None


def write(
    root: Path, environment: str, item: str, *, rejected: bool, note: str, commits: Mapping[str, str], now: datetime
) -> tuple[Path, Record, bool]:
    """Writes a sign-off in the name of git's user. Returns its path, its content, and whether it is signed.

    Raises `UsageError` if git knows no user, the file can't be written, or the key can't sign.
    """
    by = identity.identity()
    record = Record(
        item=item,
        environment=environment,
        result="rejected" if rejected else "ok",
        by=by,
        at=clock.rfc3339(now),
        expires=clock.rfc3339(now + VALID_FOR),
        note=note,
        commits=dict(commits),
    )
    mail = re.sub(r"[^\w.@+-]", "_", identity.mail(by).casefold())
    path = root / FOLDER / environment / manifest_id(commits) / f"{item}-{mail}.json"
    key = signing.own_key()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record.model_dump(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as e:
        raise UsageError(f"{path} can't be written: {e.strerror}") from None
    path.with_name(path.name + ".sig").unlink(missing_ok=True)
    if key is not None:
        try:
            signing.sign(path, signing.SIGN_OFF, key, ask=True)
        except UsageError:
            path.unlink()
            raise
    return path, record, key is not None


@dataclass(frozen=True)
class Given:
    """The sign-offs of one set of commits."""

    counting: tuple[Signed, ...]
    dropped: tuple[str, ...]
    """One sentence for each sign-off that does not count, with the reason."""


def read(root: Path, environment: Environment, commits: Mapping[str, str], now: datetime) -> Given:
    """Every sign-off that counts, and why the others do not.

    A sign-off counts if it is of this environment and of exactly these commits, has not expired, is the last one of
    its author for its item, and is signed if the environment demands it. A rejection needs no signature. Raises
    `UsageError` for a file that is not a sign-off.
    """
    allowed = environment.signers(root)
    counting: dict[tuple[str, str], Signed] = {}
    dropped: list[str] = []
    for path in sorted((root / FOLDER / environment.name / manifest_id(commits)).glob("*.json")):
        record, text = _record(path, root)
        signer = signing.signer(path, text, signing.SIGN_OFF, allowed) if allowed else None
        if signer is not None and signer.casefold() != identity.mail(record.by).casefold():
            signer = None  # the key belongs to another person than the author
        why = _against(record, environment, commits, now)
        if why is None and environment.must_be_signed and signer is None and record.result == "ok":
            why = "it is not signed with a key that is allowed for them"
        if why is not None:
            dropped.append(f"{record.item}: the {record.result} of {record.by} does not count: {why}")
            continue
        key = record.item, identity.mail(record.by).casefold()
        counting[key] = max([Signed(record, signer), *filter(None, [counting.get(key)])], key=_last)
    return Given(tuple(counting.values()), tuple(dropped))


def people_by_item(
    root: Path, environment: Environment, manifest: Mapping[str, Mapping[str, str]]
) -> dict[str, list[str]]:
    """Item to the people who confirmed it for the commits of a verdict's manifest. Raises `UsageError` as `read`
    does.
    """
    if not manifest or environment.counterpart is None:
        return {}
    commits = {name: part["commit"] for name, part in manifest.items()}
    return by_item(read(root, environment, commits, clock.now()).counting)


def by_item(signed: Iterable[Signed]) -> dict[str, list[str]]:
    """Item to the people who confirmed it, without every item that somebody rejected."""
    confirmed: dict[str, list[str]] = {}
    refused = {s.record.item for s in signed if s.record.result == "rejected"}
    for one in signed:
        if one.record.item not in refused:
            confirmed.setdefault(one.record.item, []).append(one.record.by)
    return confirmed


def _last(signed: Signed) -> tuple[datetime, bool]:
    """The sort key: the later record of a person counts; of two records of the same moment, the rejection counts."""
    return clock.moment(signed.record.at), signed.record.result == "rejected"


def _against(record: Record, environment: Environment, commits: Mapping[str, str], now: datetime) -> str | None:
    """Why a record does not count now; None if it counts. It counts for at most 24 hours, whatever the file says."""
    if (record.environment, dict(record.commits)) != (environment.name, dict(commits)):
        return "it is of another environment or of other commits"
    at = clock.moment(record.at)
    if now >= clock.moment(record.expires) or now - VALID_FOR >= at:
        return "it has expired"
    if at > now and record.result == "ok":
        return "it is from the future"
    return None


def _record(path: Path, root: Path) -> tuple[Record, bytes]:
    """The record in a file, and the content that it was read from."""
    where = path.relative_to(root)
    try:
        text = content(path)
        record = Record.model_validate(parsed(text.decode()))
        clock.moment(record.at), clock.moment(record.expires)
    except (OSError, ValueError) as e:
        raise UsageError(f"{where} is no sign-off ({str(e).splitlines()[0]}); take it out, and sign again") from None
    return record, text
