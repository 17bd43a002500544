"""What tags say: which operation made a tag, what it wrote into the tag, and which release is on hold.

An operation on the live branch leaves an annotated tag whose message ends in a JSON document (its trailer).

Source of truth: `gli.release.session` writes the document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gli.common.clock import is_time

ROLLBACK_TAG = "rollback-%Y%m%d-%H%M%S"
EMERGENCY_TAG = "emergency-%Y%m%d-%H%M%S"
"""A deployment's tag has the form `git.deploy_tag`."""


def is_deployment(tag: str, form: str) -> bool:
    """Whether a tag has the form of a deployment's."""
    return is_time(tag, form)


def is_rollback(tag: str) -> bool:
    """Whether a tag has the form of a rollback's, by commit or by reset."""
    return is_time(tag, ROLLBACK_TAG)


def is_emergency(tag: str) -> bool:
    """Whether a tag has the form of an emergency push's."""
    return is_time(tag, EMERGENCY_TAG)


def is_verified_release(tag: str, form: str) -> bool:
    """Whether a tag names verified content: a deployment, or a rollback, which makes an earlier deployment live again.
    An emergency push is not verified.
    """
    return is_deployment(tag, form) or is_rollback(tag)


def is_of_operation(tag: str, form: str) -> bool:
    """Whether a tag belongs to an operation that changed the live branch."""
    return is_verified_release(tag, form) or is_emergency(tag)


def trailer(message: str) -> dict[str, Any] | None:
    """The JSON document at the end of a tag's message; None if it can't come from an operation."""
    start = message.find("\n{")
    if start < 0:
        return None
    try:
        document, _ = json.JSONDecoder().raw_decode(message, start + 1)
    except ValueError:
        return None
    return document if isinstance(document, dict) and _is_of_operation(document) else None


def on_hold(said_by: Mapping[str, Mapping[str, Any]], trees: str) -> str | None:
    """The tag of the rollback that took this content off the live branch, if the content has not come back since.

    `trees` is the `manifest_id` of the content's trees; `said_by` maps each tag to its document.
    """
    hold = None
    for tag, said in sorted(said_by.items(), key=lambda tagged: str(tagged[1].get("at", ""))):
        if said.get("held") == trees:
            hold = tag
        elif said.get("trees") == trees and said.get("kind") in ("deploy", "rollback", "reset"):
            hold = None
    return hold


def _is_of_operation(document: Mapping[str, Any]) -> bool:
    moves, verdict = document.get("moves", {}), document.get("verdict", {})
    if not (isinstance(moves, dict) and isinstance(verdict, dict)):
        return False
    texts = [document.get(key) for key in ("kind", "at", "actor")]
    for move in moves.values():
        texts += [move.get(key) if isinstance(move, dict) else None for key in ("old", "new", "old_tree", "tree")]
    return all(isinstance(text, str) for text in texts)
