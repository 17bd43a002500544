"""The one point that every text passes before it leaves: terminal, files, messages, exceptions, test ids.

It knows the values that the run fetched as secrets and hides them in every form that they travel in
(`gli.report.secret_forms`). What nobody knew of goes too where its place gives it away: passwords in URLs and DSNs,
headers that carry credentials, cookies, tokens of a known shape, private keys; percent-encoded, in base64 and packed
too.
"""

from __future__ import annotations

import binascii
import os
import re
import sys
import threading
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from gli.report import secret_forms

MASK = "***"
_CARRIED = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_TOKEN",
    "GLI_STATUS_TOKEN",
    "PGPASSWORD",
)
_SHORTEST = 6  # a shorter value would mask ordinary words
_SHORTEST_WORD = 3  # and one shorter than that would mask them even where it stands alone
_ROUNDS = 3  # text in text in text; what is wrapped more often is hidden whole
# Every repetition is bounded, or ends at a character that the pattern can't begin with: time grows with the text alone.
_HEADERS = r"(?:proxy-)?authorization|(?:x-)?api-?key|(?<![a-z0-9-])x-[a-z0-9-]{0,40}(?:token|secret|key|signature)"
# Each place: words of which one is in every text that it is found in, since looking for a word is much the faster; and
# the pattern, whose group is what is hidden. The text comes in small letters, and a pattern begins with a letter and
# tells after it what may not stand before: `re` looks for a first letter fast, if it is sure of its case.
_PLACES: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = tuple(
    (frozenset(words), re.compile(pattern))
    for words, pattern in (
        # RFC 3986 userinfo
        (("://",), r"://([^/\s@'\"]*)@"),
        # libpq's connection strings
        (("password=", "passwd=", "pwd="), r"p(?<!\wp)(?:assword|asswd|wd)=('[^']*'|[^\s'\",;&]+)"),
        # RFC 7235 credentials, and headers and cookies that carry some
        (
            ("bearer", "basic", "token"),
            r"(?:b(?<!\wb)(?:earer|asic)|t(?<!\wt)oken)\s{1,8}([a-z0-9._~+/=-]{8,})",
        ),
        (
            ("authorization", "key", "token", "secret", "signature"),
            (
                r"(?:a(?<!\wa)(?:uthorization|pi-?key)|x(?<![\w-]x)-[a-z0-9-]{0,40}(?:token|secret|key|signature))"
                r"['\"]?\s{0,8}[:=]\s{0,8}['\"]?(?!(?:bearer|basic|token)\s)([^\s'\",;]{6,})"
            ),
        ),
        (
            ("cookie",),
            r"cookie(?<!\wcookie)['\"]?\s{0,8}[:=]\s{0,8}['\"]?([^\s=;,'\"]{1,128}=[^\r\n'\"]+)",
        ),
        # URL parameters and variables that are named like secrets
        (
            ("signature=", "sig=", "credential="),
            r"[?&][a-z0-9_.-]{0,64}(?:signature|credential|sig)=([^\s&#'\"]+)",
        ),
        (
            ("secret", "token", "password", "apikey", "api_key", "access_key"),
            r"(?:secret|token|password|api_?key|access_key)[a-z0-9_]{0,64}=([^\s&#'\",;$]{6,})",
        ),
        (
            ("client_secret", "password", "passwd", "secret_key", "private_key", "access_token", "refresh_token"),
            (
                r"(?:client_secret|password|passwd|secret_key|private_key|access_token|refresh_token)['\"]?"
                r"\s{0,8}:\s{0,8}['\"]?([^\s'\",;{}\[\]]{6,})"
            ),
        ),
        # shapes: JSON Web Tokens, GitHub, Slack, AWS, PEM; of a word that is no token, all that begins like one is read
        (
            ("eyj",),
            r"eyj(?:([a-z0-9_-]{8,}+\.[a-z0-9_-]{4,}(?:\.[a-z0-9_-]*)?)|[a-z0-9_-]*+)",
        ),
        (
            ("glpat-", "npm_", "sk_live_", "rk_live_", "aiza", "sk-"),
            (
                r"(g(?<!\wg)lpat-[a-z0-9_-]{20,}|n(?<!\wn)pm_[a-z0-9]{30,}|r(?<!\wr)k_live_[a-z0-9]{16,}"
                r"|a(?<!\wa)iza[a-z0-9_-]{30,}|s(?<!\ws)k(?:_live_[a-z0-9]{16,}|-[a-z0-9_-]{32,}))"
            ),
        ),
        (
            ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox"),
            (
                r"(g(?<!\wg)(?:h[pousr]_[a-z0-9]{20,}|ithub_pat_[a-z0-9_]{20,})"
                r"|x(?<!\wx)ox[abeoprs]-[a-z0-9-]{10,})"
            ),
        ),
        (("hooks.slack.com",), r"hooks\.slack\.com/(?:services|workflows)/([a-z0-9/_-]+)"),
        (("akia", "asia"), r"(a(?<!\wa)(?:kia|sia)[a-z2-7]{16})\b"),
        (("private key",), r"-----begin [a-z ]{0,40}private key-----((?s:.*?))(?:-----end|\Z)"),
    )
)
_SIGNS = "_-=:. /"
_EACH_WORD = sorted(frozenset().union(*(words for words, _ in _PLACES)), key=lambda word: (len(word), word))
_WORDS = tuple(
    (
        word,
        frozenset(word) & frozenset(_SIGNS),
        next((stem for stem in _EACH_WORD if stem in word and stem != word), None),
    )
    for word in _EACH_WORD
)
"""Each word, the signs in it, and the shortest word that is a part of it, which comes before it."""
_KEYS = re.compile(
    rf"(?:set-)?cookie|{_HEADERS}|passw(?:or)?d|(?:aws_)?(?:secret_access_key|session_token)", re.IGNORECASE
)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPED_WORD = re.compile(
    r"(?<![^\s'\"<>])[^\s'\"<>%]*+(?:%(?![0-9A-Fa-f]{2})[^\s'\"<>%]*+)*+%[0-9A-Fa-f]{2}[^\s'\"<>]*+"
)
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED_NO_SIGN = re.compile(r"%(?!25)[0-9A-Fa-f]{2}")
_FEW = 40  # escapes: each costs a pass over the text
_SHORT = 200  # bytes
_WRAPPED = re.compile(r"(?<![A-Za-z0-9+/=])(?:[A-Za-z0-9+/]{48,76}\r?\n)++[A-Za-z0-9+/]{0,76}={0,2}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor or turns the direction of text; line ends and tabs stay."""
_RETURN = re.compile(r"\r(?!\n)")  # alone, it leads to the beginning of the line, which is then written over
_SPELT_OUT = {n: f"\\u{n:04x}" for n in range(0x2070) if _CONTROL.match(chr(n))}
_STANDARD = str.maketrans("-_", "+/")  # RFC 4648 section 5
_WINDOW = 8  # bytes of a number that `memoryview.cast` reads
_LONGEST_ESCAPED = 100_000  # what is longer is hidden whole: to find the places of its signs would take seconds
_LONG = 2 * _WINDOW - 1  # so long a text holds a whole window, wherever it begins
_PACKED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""How the content of gzip and of zlib begins: RFC 1952 section 2.3.1, RFC 1950 section 2.2."""
_MOST_UNPACKED = 200_000  # bytes of one part
_TOO_LARGE = "password=too-large-to-look-into"  # hidden, as every password is
_ALIKE = bytes(ord("a") if (chr(n).isalnum() and n < 128) or chr(n) in "+/-_" else ord(" ") for n in range(256))
"""For `bytes.translate`: every character of base64 to the same letter, every other one to a space."""
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}")


def carried() -> list[str]:
    """The credentials that this process's own environment variables hold."""
    return [os.environ[name] for name in _CARRIED if name in os.environ]


class Redactor:
    """Hides secrets in text. Values can be added while a run goes on, from any thread."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._exact: tuple[str, ...] = ()
        """The forms of the values that are looked for as they are."""
        self._spellings: tuple[bytes, ...] = ()
        """How the values are spelt in letters and digits alone: see `secret_forms.squeezed`."""
        self._windows: dict[int, set[bytes]] = {}
        """Every 8 bytes that stand together in a long spelling, as a number, to the spellings."""
        self._beginnings: dict[str, list[str]] = {}
        """How forms begin, to the forms."""
        self._longest = 0
        self._words: re.Pattern[str] | None = None
        self._hidden: dict[str, str] = {}
        self._learning = threading.Lock()
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Values that must not leave from now on."""
        with self._learning:
            known = self._known | {v for v in values if len(v) >= _SHORTEST_WORD}
            if known != self._known:
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
                self._known, self._hidden = known, {}  # last: what is kept from now on was hidden by the new pattern

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
        text = _without_places(text)
        if "%" in text and _ESCAPED.search(text):
            words = list(dict.fromkeys(_ESCAPED_WORD.findall(text)))
            text = self._looked_into(
                text, _ESCAPED_WORD, words, dict(zip(words, _unquoted(words), strict=True)), rounds
            )
        alike = text.encode("ascii", "replace").translate(_ALIKE)  # much faster than a pattern
        for encoded, shortest in ((_WRAPPED, 48), (_BASE64, 16)):
            if b"a" * shortest in alike:
                parts = list(dict.fromkeys(encoded.findall(text)))
                text = self._looked_into(text, encoded, parts, _decoded(parts), rounds)
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
        if not spelt and not exact and _without_places(plain) == plain:
            return text
        if len(text) > _LONGEST_ESCAPED:
            return MASK
        plain, begins, ends = secret_forms.unescaped_with_places(text)
        patterns = [*map(_spelt, spelt), *(re.compile(re.escape(form)) for form in exact)]
        spans = [found.span() for pattern in patterns for found in pattern.finditer(plain)]
        spans += _places(_lowered(plain))
        raw = sorted((begins[begin], ends[end - 1]) for begin, end in spans if begin < end)
        if not raw:
            return MASK
        return _masked(text, _joined(raw))

    def _without_beginning(self, text: str) -> str:
        """The text, with the mask in place of half a form or more at its end: it may be cut before it comes here."""
        for at in range(max(0, len(text) - self._longest + 1), len(text) - _SHORTEST + 1):
            for form in self._beginnings.get(text[at : at + _SHORTEST], ()):
                if len(text) - at >= max(_SHORTEST, len(form) // 2) and form.startswith(text[at:]):
                    return text[:at] + MASK
        return text

    def _looked_into(
        self, text: str, encoded: re.Pattern[str], parts: Sequence[str], inside: Mapping[str, str], rounds: int
    ) -> str:
        """The text, with the mask in place of each encoded part that holds a secret, or that is wrapped too often.

        `inside` maps each part to its decoded text, if it has one.
        """
        hidden = self._hiding(inside, rounds)
        if len(hidden) == len(parts):
            return encoded.sub(MASK, text)
        return encoded.sub(lambda found: MASK if found[0] in hidden else found[0], text) if hidden else text

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
        secret = isinstance(value, str) and value and isinstance(key, str) and _KEYS.fullmatch(key)
        return MASK if secret else self.document(value)


def _windows(spellings: Iterable[bytes]) -> dict[int, set[bytes]]:
    windows: dict[int, set[bytes]] = {}
    for one in spellings:
        for at in range(len(one) - _WINDOW + 1):
            windows.setdefault(int.from_bytes(one[at : at + _WINDOW], sys.byteorder), set()).add(one)
    return windows


def _without_places(text: str) -> str:
    """The text, with the mask wherever its place gives a secret away."""
    lowered = _lowered(text)
    present = _present(lowered)  # the mask, which is put in below, adds none
    for words, pattern in _PLACES:
        if words.isdisjoint(present):
            continue
        spans = [found.span(1) for found in pattern.finditer(lowered) if found[1] is not None]
        if "eyj" in words:
            spans = [(begin - 3, end) for begin, end in spans]  # what is hidden begins with the word
        if spans:
            text, lowered = _masked(text, spans), _masked(lowered, spans)
    return text


def _places(lowered: str) -> list[tuple[int, int]]:
    """Where the places that give a secret away begin and end."""
    present = _present(lowered)
    return [
        found.span(1)
        for words, pattern in _PLACES
        if not words.isdisjoint(present)
        for found in pattern.finditer(lowered)
        if found[1] is not None
    ]


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans, with those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _spelt(spelling: bytes) -> re.Pattern[str]:
    """What a spelling looks like in a text, with any other signs between its letters."""
    return re.compile(secret_forms.BETWEEN.join(map(re.escape, spelling.decode())), re.IGNORECASE)


def _present(lowered: str) -> set[str]:
    """The words of `_WORDS` that a text holds. A sign is found fast, and a word whose sign or part is missing is not
    looked for.
    """
    signs = frozenset(sign for sign in _SIGNS if sign in lowered)
    present: set[str] = set()
    for word, needs, stem in _WORDS:
        if needs <= signs and (stem is None or stem in present) and word in lowered:
            present.add(word)
    return present


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    begins = [0, *(end for _, end in spans)]
    ends = [*(begin for begin, _ in spans), len(text)]
    return MASK.join([text[begin:end] for begin, end in zip(begins, ends, strict=True)])


def _lowered(text: str) -> str:
    """The text in small letters, as long as it was; letters that only look small to `re.IGNORECASE` too."""
    if text.isascii():
        return text.lower()
    return text.replace("\u0130", "i").lower().replace("\u0131", "i").replace("\u017f", "s")


def disarmed(text: str) -> str:
    """The text without what acts on a terminal: control characters and those that turn the direction are spelt out."""
    text = _RETURN.sub(r"\\u000d", text) if "\r" in text else text
    return text.translate(_SPELT_OUT) if _CONTROL.search(text) else text


def _unquoted(words: Sequence[str]) -> list[str]:
    """The text inside the percent-encoding of each word."""
    together = "\n".join(words)  # one call: the function is slow
    found = _all_unquoted(together).split("\n")
    return found if len(found) == len(words) else [unquote(word) for word in words]


def _all_unquoted(text: str) -> str:
    """What `unquote` returns, faster if few escapes differ."""
    if not text.isascii():
        return unquote(text)
    raw, at = _STRAY.sub("%25", text), 0  # now each percent sign begins an escape
    for _ in range(_FEW):
        found = _ESCAPED_NO_SIGN.search(raw, at)
        if found is None:
            raw = raw.replace("%25", "%")  # last, since its sign begins no escape
            return raw.encode("latin-1").decode("utf-8", "replace")
        at = found.start()
        raw = raw.replace(found[0], chr(int(found[0][1:], 16)))
    return unquote(text)


def _text(raw: bytes) -> str:
    """The text in UTF-8; empty if it is something else. An exception is slow for many short texts."""
    if len(raw) < _SHORT:
        text = raw.decode("utf-8", "replace")
        return text if "\ufffd" not in text or raw == text.encode() else ""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""


def _decoded(parts: Sequence[str]) -> dict[str, str]:
    """The text inside each part in base64, of either alphabet, without the parts that have none."""
    bare = [("".join(part.split()) if "\n" in part else part).rstrip("=") for part in parts]
    padded = "".join([text + "AAA"[: -len(text) % 4] for text in bare])
    raw = binascii.a2b_base64(padded.translate(_STANDARD))  # one call for all parts
    found: dict[str, str] = {}
    at = 0
    if raw.isascii():  # all parts are texts, and none is packed
        whole = raw.decode().replace("\n", "\r")
        for part, text in zip(parts, bare, strict=True):
            size = len(text)
            if size % 4 != 1 and (inside := whole[at : at + size * 6 // 8]) != part:
                found[part] = inside
            at += (size + 3) // 4 * 3
        return found
    for part, text in zip(parts, bare, strict=True):
        size = len(text)
        inner = raw[at : at + size * 6 // 8]
        at += (size + 3) // 4 * 3
        if inner.startswith(_PACKED):
            inner = _unpacked(inner)
        inside = _text(inner) if size % 4 != 1 else ""  # no bytes have such a length
        if inside and inside != part:
            found[part] = inside.replace("\n", "\r")  # each part stays on one line
    return found


def _unpacked(raw: bytes) -> bytes:
    """What the content of gzip or of zlib unpacks to; the bytes as they are if they are none."""
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of them
    try:
        found = unpacking.decompress(raw, _MOST_UNPACKED)
    except zlib.error:
        return raw
    return _TOO_LARGE.encode() if unpacking.unconsumed_tail else found
