"""Policy documents of AWS, whichever service they belong to: one value may stand where a list may stand.

Source of truth: IAM's "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import json
from typing import Any

from gli.common.sentences import phrase
from gli.observe.engine.observation import unknown


def statements_of(document: Any) -> list[dict[str, Any]]:
    """The statements of a policy document. botocore decodes some documents and returns others as text.

    Raises `Unobserved` if the document is not a policy.
    """
    try:
        parsed = json.loads(document) if isinstance(document, str) else document
        found = parsed.get("Statement") or []
        statements = [found] if isinstance(found, dict) else list(found)
    except (ValueError, AttributeError, TypeError) as e:
        raise unknown("error", phrase("a policy document of AWS can't be read: {}", e)) from None
    if not all(isinstance(statement, dict) for statement in statements):
        raise unknown("error", phrase("a policy document of AWS can't be read: {}", "Statement"))
    return statements


def values_of(value: Any) -> tuple[Any, ...]:
    """The values of an element; none where the element is absent."""
    return () if value is None else tuple(value) if isinstance(value, list) else (value,)


def named_in(principal: Any) -> tuple[Any, ...]:
    """Everybody whom a Principal names, of every kind; `*` is everybody."""
    if isinstance(principal, dict):
        return tuple(name for value in principal.values() for name in values_of(value))
    return values_of(principal)
