"""Sign-offs: what people confirmed, for which commits, and until when.

One JSON file each, `checklists/sign-offs/<environment>/<manifest>/<item>-<e-mail>.json`, with an SSH signature beside
it where its author has a key. It arrives by commit or by review; without a signature it is an assertion, and whoever
reads it is told so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from gli import clock, people, signing
from gli.documents import parsed
from gli.environments import Environment, Table
from gli.errors import UsageError
from gli.manifest import manifest_id

FOLDER = Path("checklists/sign-offs")
VALID_FOR = timedelta(hours=24)


class Record(Table):
    """What one file says."""

    item: str
    environment: str
    result: Literal["ok", "rejected"]
    by: str
    """`Name <e-mail>`, as git knows the author."""
    at: str
    expires: str
    note: str
    commits: Mapping[str, str]
    """What was looked at: the head of each repository."""


@dataclass(frozen=True)
class Signed:
    """A record that counts, and by whom it is signed; None where it is only asserted."""

    record: Record
    signer: str | None


def write(
    root: Path, environment: str, item: str, *, rejected: bool, note: str, commits: Mapping[str, str], now: datetime
) -> tuple[Path, Record, bool]:
    """A new sign-off by whoever git says is at work; its file, its content, and whether it is signed.

    Raises `UsageError` where git knows no identity, or the key does not sign.
    """
    by = people.identity()
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
    mail = re.sub(r"[^\w.@+-]", "_", people.mail(by))
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


def read(root: Path, environment: Environment, commits: Mapping[str, str], now: datetime) -> list[Signed]:
    """Every sign-off that counts: of this environment, of exactly these commits, not expired, one a person and item,
    signed where the environment demands it. Raises `UsageError` for a file that is none.
    """
    allowed = environment.signatures.allowed_signers if environment.signatures else None
    required = environment.signatures is not None and environment.signatures.required
    counting: dict[tuple[str, str], Signed] = {}
    for path in sorted((root / FOLDER / environment.name / manifest_id(commits)).glob("*.json")):
        record = _record(path, root)
        if (record.environment, dict(record.commits)) != (environment.name, dict(commits)):
            continue
        if not _in_time(record, now):
            continue
        signer = signing.signer(path, signing.SIGN_OFF, root / allowed) if allowed else None
        if signer is not None and signer.casefold() != people.mail(record.by).casefold():
            signer = None  # somebody else's key under this name
        if required and signer is None:
            continue
        counting[record.item, people.mail(record.by).casefold()] = Signed(record, signer)
    return list(counting.values())


def by_item(signed: Iterable[Signed]) -> dict[str, list[str]]:
    """Item to everybody who confirmed it; an item that anybody rejected is confirmed by nobody."""
    confirmed: dict[str, list[str]] = {}
    refused = {s.record.item for s in signed if s.record.result == "rejected"}
    for one in signed:
        if one.record.item not in refused:
            confirmed.setdefault(one.record.item, []).append(one.record.by)
    return confirmed


def _in_time(record: Record, now: datetime) -> bool:
    """Whether it counts now: never for longer than 24 hours, whatever the file says."""
    at = clock.moment(record.at)
    return at <= now < min(clock.moment(record.expires), at + VALID_FOR)


def _record(path: Path, root: Path) -> Record:
    where = path.relative_to(root)
    try:
        record = Record.model_validate(parsed(path.read_text(encoding="utf-8")))
        clock.moment(record.at), clock.moment(record.expires)
    except (OSError, ValueError) as e:
        raise UsageError(f"{where} is no sign-off ({str(e).splitlines()[0]}); take it out, and sign again") from None
    return record
