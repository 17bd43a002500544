"""The one point that every text passes before it leaves: terminal, files, messages, exceptions, test ids.

It knows the values that the run fetched as secrets, and hides them in every form in which they travel
(`gli.report.secret_forms`). It also hides what nobody fetched, if its place gives it away (`gli.report.secret_places`).
It looks into encoded parts of a text too (`gli.report.encoded_parts`).
"""

from __future__ import annotations

import os
import re
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from gli.report import secret_forms
from gli.report.encoded_parts import Encoding, encodings
from gli.report.secret_places import KEYS, MASK, lowered, masked, places, without_places

_CARRIED = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_TOKEN",
    "GLI_STATUS_TOKEN",
    "PGPASSWORD",
)
_SHORTEST = 6  # a shorter value would mask ordinary words
_SHORTEST_WORD = 3  # a value shorter than that would mask them even where it stands alone
_ROUNDS = 3  # text in text in text; what is wrapped more often is hidden whole
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor or turns the direction of text; line ends and tabs stay."""
_RETURN = re.compile(r"\r(?!\n)")  # alone, it leads to the beginning of the line, which is then written over
_SPELT_OUT = {n: f"\\u{n:04x}" for n in range(0x2070) if _CONTROL.match(chr(n))}
_WINDOW = 8  # bytes of a number that `memoryview.cast` reads
_LONGEST_ESCAPED = 100_000  # what is longer is hidden whole: to find the places of its signs would take seconds
_LONG = 2 * _WINDOW - 1  # so long a text holds a whole window, wherever it begins


def carried() -> list[str]:
    """The credentials that this process's own environment variables hold."""
    return [os.environ[name] for name in _CARRIED if name in os.environ]


class Redactor:
    """Hides secrets in text. Values can be added while a run goes on, from any thread."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._told: frozenset[str] = frozenset()
        self._exact: tuple[str, ...] = ()
        """The forms of the values that are looked for as they are."""
        self._spellings: tuple[bytes, ...] = ()
        """How the values are spelt in letters and digits alone: see `secret_forms.squeezed`."""
        self._windows: dict[int, set[bytes]] = {}
        """The first windows of each long spelling, as numbers, to the spellings."""
        self._beginnings: dict[str, list[str]] = {}
        """How forms begin, to the forms."""
        self._longest = 0
        self._words: re.Pattern[str] | None = None
        self._hidden: dict[str, str] = {}
        self._learning = threading.Lock()
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Values that must not leave from now on."""
        told = frozenset(values)  # the same again and again: a run asks before each text
        with self._learning:
            if told <= self._told:
                return
            told |= self._told
            known = {value for value in told if len(value) >= _SHORTEST_WORD}
            long = {value for value in known if len(value) >= _SHORTEST}
            forms = {form for value in long for form in secret_forms.forms(value)}
            spellings = {spelling for value in long for spelling in secret_forms.spellings(value)}
            exact = (form for form in forms if not secret_forms.is_spelt(form, spellings))
            beginnings: dict[str, list[str]] = {}
            for form in forms:
                beginnings.setdefault(form[:_SHORTEST], []).append(form)
            self._exact = tuple(sorted(exact, key=len, reverse=True))
            self._spellings = tuple(sorted(spellings, key=len, reverse=True))
            self._windows = _windows(one for one in spellings if len(one) >= _LONG)
            self._beginnings, self._longest = beginnings, max(map(len, forms), default=0)
            words = "|".join(map(re.escape, sorted(known - long)))
            self._words = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])") if words else None
            self._told, self._hidden = told, {}  # last: what is kept from now on was hidden by the new pattern

    def text(self, text: str) -> str:
        """The text without secrets; always an exact `str`."""
        text = f"{text}"
        kept = self._hidden  # a verdict says the same words over and over
        hidden = kept.get(text)
        if hidden is None:
            hidden = kept[text] = disarmed(self._without(text, _ROUNDS))
        return hidden

    def _without(self, text: str, rounds: int) -> str:
        for form in self._exact[bisect_left(self._exact, -len(text), key=lambda form: -len(form)) :]:
            if form in text:
                text = text.replace(form, MASK)
        text = self._without_beginning(text)
        if self._words is not None:
            text = self._words.sub(MASK, text)
        text = without_places(text)
        for encoding in encodings(text):
            text = self._looked_into(text, encoding, rounds)
        return self._without_escaped(self._without_spellings(text))

    def _without_spellings(self, text: str) -> str:
        """The text, with the mask in place of each value that stands there in letters and digits, whatever other signs
        are between them: a value that is split over lines, or of which each letter is escaped.
        """
        for spelling in self._spelt_in(text):
            text, count = _spelt(spelling).subn(MASK, text)
            if not count and spelling in secret_forms.squeezed(text):
                return MASK
        return text

    def _spelt_in(self, text: str) -> list[bytes]:
        """The spellings that stand in the text, the longest first."""
        squeezed = secret_forms.squeezed(text)
        # One pass for all long spellings: each holds one of the windows that the text is cut into.
        cut = memoryview(squeezed)[: len(squeezed) // _WINDOW * _WINDOW].cast("Q")
        windows, found = self._windows, set[bytes]()
        if not windows.keys().isdisjoint(cut):
            found = {one for window in windows.keys() & set(cut) for one in windows[window] if one in squeezed}
        shorter = self._spellings[bisect_left(self._spellings, 1 - _LONG, key=lambda one: -len(one)) :]
        return sorted(found, key=len, reverse=True) + [spelling for spelling in shorter if spelling in squeezed]

    def _without_escaped(self, text: str) -> str:
        """The text, with the mask in place of each value of which some signs are escaped, or stand apart by what nobody
        sees, and of each secret whose place such signs give away.
        """
        plain = secret_forms.unescaped(text)
        if plain == text:
            return text
        spelt, exact = self._spelt_in(plain), [form for form in self._exact if form in plain]
        if not spelt and not exact and without_places(plain) == plain:
            return text
        if len(text) > _LONGEST_ESCAPED:
            return MASK
        plain, begins, ends = secret_forms.unescaped_with_places(text)
        patterns = [*map(_spelt, spelt), *(re.compile(re.escape(form)) for form in exact)]
        spans = [found.span() for pattern in patterns for found in pattern.finditer(plain)]
        spans += places(lowered(plain))
        raw = sorted((begins[begin], ends[end - 1]) for begin, end in spans if begin < end)
        if not raw:
            return MASK
        return masked(text, _joined(raw))

    def _without_beginning(self, text: str) -> str:
        """The text, with the mask in place of half a form or more at its end: it may be cut before it comes here."""
        for at in range(max(0, len(text) - self._longest + 1), len(text) - _SHORTEST + 1):
            for form in self._beginnings.get(text[at : at + _SHORTEST], ()):
                if len(text) - at >= max(_SHORTEST, len(form) // 2) and form.startswith(text[at:]):
                    return text[:at] + MASK
        return text

    def _looked_into(self, text: str, encoding: Encoding, rounds: int) -> str:
        """The text, with the mask in place of each encoded part that holds a secret, or that is wrapped too often."""
        parts = list(dict.fromkeys(encoding.pattern.findall(text)))
        hidden = self._hiding(encoding.decoded(parts), rounds)
        if not hidden:
            return text
        if len(hidden) == len(parts):
            return encoding.pattern.sub(MASK, text)
        return encoding.pattern.sub(lambda found: MASK if found[0] in hidden else found[0], text)

    def _hiding(self, inside: Mapping[str, str], rounds: int) -> set[str]:
        """The encoded parts that hide a secret. Looks at all parts together, each on a line: that is fast."""
        if not inside or not rounds:
            return set(inside)
        together = "\n".join(inside.values())
        clean = self._without(together, rounds - 1)
        if clean == together:
            return set()
        before, after = together.split("\n"), clean.split("\n")
        if len(before) == len(after) == len(inside):
            return {part for part, one, other in zip(inside, before, after, strict=True) if one != other}
        return {part for part, found in inside.items() if self._without(found, rounds - 1) != found}

    def document(self, value: Any) -> Any:
        """A JSON document without secrets, keys included; what stands under a key like `password` is one."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(k) if isinstance(k, str) else k: self._under(k, v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(v) for v in value]
        return value

    def _under(self, key: Any, value: Any) -> Any:
        secret = isinstance(value, str) and value and isinstance(key, str) and KEYS.fullmatch(key)
        return MASK if secret else self.document(value)


def _windows(spellings: Iterable[bytes]) -> dict[int, set[bytes]]:
    """The 8 bytes at each of the first 8 places of a spelling. A text is cut into windows of 8 bytes: wherever a
    spelling stands in the text, a window begins at one of these places.
    """
    windows: dict[int, set[bytes]] = {}
    for one in spellings:
        for at in range(_WINDOW):
            windows.setdefault(int.from_bytes(one[at : at + _WINDOW], sys.byteorder), set()).add(one)
    return windows


def _spelt(spelling: bytes) -> re.Pattern[str]:
    """What a spelling looks like in a text, with any other signs between its letters."""
    return re.compile(secret_forms.BETWEEN.join(map(re.escape, spelling.decode())), re.IGNORECASE)


def disarmed(text: str) -> str:
    """The text without what acts on a terminal: control characters and those that turn the direction are spelt out."""
    text = _RETURN.sub(r"\\u000d", text) if "\r" in text else text
    return text.translate(_SPELT_OUT) if _CONTROL.search(text) else text


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans, with those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined
