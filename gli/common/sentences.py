"""What a failed check says: what was expected, and what was seen, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable


def saw(seen: object, *, expected: object) -> str:
    """`expected 200, saw 503 text/html`: one line, whatever the values hold."""
    return " ".join(f"expected {expected}, saw {seen}".split())


def parted(message: str) -> tuple[str, str] | None:
    """What was expected and what was seen, of a sentence that `saw` made; None for any other."""
    expected, comma, seen = message.partition(", saw ")
    return (expected.removeprefix("expected "), seen) if comma and expected.startswith("expected ") else None


def listed(items: Iterable[object], *, most: int = 5) -> str:
    """`a, b and c`; long lists end in their count."""
    texts = [str(i) for i in items]
    if len(texts) > most:
        return ", ".join(texts[:most]) + f" and {len(texts) - most} more"
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1] if texts else ""])) or "nothing"
