"""The texts inside other texts: percent-encoding (RFC 3986), base64 (RFC 4648), gzip and zlib in base64."""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPED_WORD = re.compile(
    r"(?<![^\s'\"<>])[^\s'\"<>%]*+(?:%(?![0-9A-Fa-f]{2})[^\s'\"<>%]*+)*+%[0-9A-Fa-f]{2}[^\s'\"<>]*+"
)
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED_NO_SIGN = re.compile(r"%(?!25)[0-9A-Fa-f]{2}")
_FEW = 40  # escapes: each costs a pass over the text
_SHORT = 200  # bytes
_WRAPPED = re.compile(r"(?<![A-Za-z0-9+/=])(?:[A-Za-z0-9+/]{48,76}\r?\n)++[A-Za-z0-9+/]{0,76}={0,2}")
_STANDARD = str.maketrans("-_", "+/")  # RFC 4648 section 5
_PACKED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""How the content of gzip and of zlib begins: RFC 1952 section 2.3.1, RFC 1950 section 2.2."""
_MOST_UNPACKED = 200_000  # bytes of one part
_TOO_LARGE = "password=too-large-to-look-into"  # hidden, as every password is
_ALIKE = bytes(ord("a") if (chr(n).isalnum() and n < 128) or chr(n) in "+/-_" else ord(" ") for n in range(256))
"""For `bytes.translate`: every character of base64 to the same letter, every other one to a space."""
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}")


@dataclass(frozen=True)
class Encoding:
    """One way to put a text into another text."""

    pattern: re.Pattern[str]
    """Finds the encoded parts of a text."""
    decoded: Callable[[Sequence[str]], Mapping[str, str]]
    """Each part to the text inside, without the parts that hold no text."""


def encodings(text: str) -> Iterator[Encoding]:
    """The encodings of which a text may hold parts, in the order in which to look into them."""
    if "%" in text and _ESCAPED.search(text):
        yield Encoding(_ESCAPED_WORD, _unquoted)
    alike = text.encode("ascii", "replace").translate(_ALIKE)  # much faster than a pattern
    for pattern, shortest in ((_WRAPPED, 48), (_BASE64, 16)):
        if b"a" * shortest in alike:
            yield Encoding(pattern, _decoded)


def _unquoted(words: Sequence[str]) -> dict[str, str]:
    """The text inside the percent-encoding of each word."""
    together = "\n".join(words)  # one call: the function is slow
    found = _all_unquoted(together).split("\n")
    return dict(zip(words, found if len(found) == len(words) else map(unquote, words), strict=True))


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
