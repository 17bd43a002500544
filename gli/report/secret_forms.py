"""The forms in which a secret travels: as other programs escape it, in numbers, in base64 and base32, and split.

`gli.report.redact` looks for them.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from html.entities import html5
from textwrap import wrap
from urllib.parse import quote, quote_plus

_SPELT_BY_OTHERS = (
    ("<>&", "\\u{:04x}"),  # Go, Rails
    ("<>&='", "\\u{:04x}"),  # Gson
    ("<>&'\"+`", "\\u{:04X}"),  # System.Text.Json
    ("<>&'\"\\`=-;", "\\u{:04X}"),  # Django's escapejs
    ("<>&'\"", "&#{:d};"),
    ("<>&'\"/`=", "&#x{:X};"),  # Mustache
    ("=", "={:02X}"),  # quoted-printable: RFC 2045 section 6.7
)
"""The signs that other programs escape in JSON, HTML and mail, and how."""
_NO_SPELLING = bytes(n for n in range(128) if not chr(n).isalnum())
BETWEEN = r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]*+"
"""The same signs, in a pattern."""
_SHORTEST_SPELLING = 8
_OF_BYTES = ("{}", "{:03}", "{:03o}", "{:o}", "0o{:o}", "x{:02x}", "0x{:02x}", "{:02x}h", "{:08b}", "0b{:b}")
_OF_EACH_SIGN = ("{:02x}", "{:04x}", "{:06x}", "u{:04x}", "x{:04x}")
"""How the signs that are no letters or digits are escaped in CSS, LDAP (RFC 4515), SQL, mail (RFC 2047), JavaScript and
Excel, without the signs that the escapes begin or end with.
"""
_IN_A_HEADER = "!*+-/"
"""The signs that a word of a mail's header may hold as they are: RFC 2047 section 4.2."""
_OF_SIGNS = ("u{:04x}", "u{:x}", "u{:08x}", "{}", "x{:x}", "x{:04x}", "{:06x}", "char{}", "char0x{:x}", "chr{}")


_ESCAPED_ENDS = ("\\n", "\\r", "\\t")  # replaced first, and fast: texts hold many
_HEX = "[0-9A-Fa-f]"
_WITH_A_NAME = {*map(chr, range(0x21, 0x7F)), "\n", "\t", "\u00a0", "\u00ad", "\u200b", "\u200c", "\u200d", "\u2060"}
_NAMED = sorted(
    (name[:-1] for name, sign in html5.items() if name.endswith(";") and sign in _WITH_A_NAME), key=len, reverse=True
)
"""How HTML names the signs of ASCII, and those that nobody sees."""
# In the order in which they are undone. Each begins with a sign that `re` finds fast, and its repetitions are bounded.
_ESCAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "\\",
        re.compile(
            rf"\\(?<!\\\\)\\{{0,20}}(?:(?:u|U0000)(?P<four>{_HEX}{{4}})|x(?P<two>{_HEX}{{2}})|[ux]\{{(?P<hex>{_HEX}{{1,5}})\}}"
            r"|0?(?P<octal>[01][0-7]{2})|e\[[0-?]{0,40}[@-~]|[bfv]|(?P<itself>/))"
        ),
    ),
    ("\b", re.compile(r"[^\n\x08]\x08")),
    ("\x1b", re.compile(r"\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,300}(?:\x07|\x1b\\)|[@-Z\\-_])")),
    (
        "&",
        re.compile(
            rf"&(?:amp;){{0,8}}(?:#[xX]0{{0,6}}(?P<hex>{_HEX}{{1,5}});?|#0{{0,6}}(?P<decimal>[45][0-9]{{4}}|8[0-9]{{3}}|[0-9]{{1,3}});?"
            rf"|(?P<name>{'|'.join(_NAMED)});)"
        ),
    ),
    ("<", re.compile(r"<(?:[A-Za-z/]|!--)[^<>]{0,60}>")),
)
"""The escapes of signs in programming languages and JSON, in terminals, in HTML; and tags, which show nothing."""
_BASES = {"four": 16, "two": 16, "hex": 16, "octal": 8, "decimal": 10}
_UNSEEN = re.compile(
    "[\u00a0\u00ad\u0300-\u036f\u061c\u180b-\u180e\u2000-\u200f\u2026\u2028-\u202f\u205f-\u206f\u2192\u21a9\u21aa\u21b5\u23ce"
    "\u2500-\u257f\u3000\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f]"
)
"""What takes no place, or looks like a space; what programs put where they break a line, and frames around lines."""
_WIDE = re.compile("(?P<wide>[\uff01-\uff5e])")
"""The wide forms of ASCII's signs, as keyboards for Korean and Japanese write them."""


class _Undone(dict[str, str]):
    """An escape to the sign that it means, found once."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        super().__init__()
        self._pattern = pattern

    def __missing__(self, escape: str) -> str:
        found = self._pattern.fullmatch(escape)
        kind = found.lastgroup if found else None
        sign = found[kind] if found and kind else ""
        if kind in _BASES:
            sign = chr(int(sign, _BASES[kind]))
        if kind == "wide":
            sign = chr(ord(sign) - 0xFEE0)
        self[escape] = html.unescape(f"&{sign};") if kind == "name" else sign
        return self[escape]


def unescaped(text: str) -> str:
    """The text as it is seen once escapes are undone, tags and commands to a terminal are left out, however they are
    mixed. Its time grows only with the length of the text.
    """
    for escape in _ESCAPED_ENDS:
        text = text.replace(escape, "")
    for sign, pattern in _ESCAPES:
        if sign in text:
            text = _undone(text, pattern)
    return text if text.isascii() else _UNSEEN.sub("", _undone(text, _WIDE))


def _undone(text: str, pattern: re.Pattern[str]) -> str:
    if not pattern.groups:
        return pattern.sub("", text)  # none of these escapes means a sign
    signs = _Undone(pattern)
    return pattern.sub(lambda found: signs[found[0]], text)


def unescaped_with_places(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """`unescaped(text)`, with the place in the text where each of its signs begins and ends. Slow."""
    begins, ends = [*range(len(text))], [*range(1, len(text) + 1)]
    first = re.compile("|".join(map(re.escape, _ESCAPED_ENDS)))
    for pattern in (first, *(pattern for _, pattern in _ESCAPES), _WIDE, _UNSEEN):
        undone = _Undone(pattern)
        signs, places, at = "", list[tuple[int, int]](), 0
        for found in pattern.finditer(text):
            begin, end = found.span()
            sign = undone[found[0]]
            signs += text[at:begin] + sign
            places += zip(begins[at:begin], ends[at:begin], strict=True)
            places += [(begins[begin], ends[end - 1])] * len(sign)
            at = end
        signs += text[at:]
        places += zip(begins[at:], ends[at:], strict=True)
        text, begins, ends = signs, [begin for begin, _ in places], [end for _, end in places]
    return text, begins, ends


def forms(value: str) -> set[str]:
    """How a value stands in text: as it is, as other programs escape or quote it, in numbers, and in base64."""
    raw = value.encode()
    in_json = json.dumps(value)[1:-1]
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), in_json, json.dumps(in_json)[1:-1]}
    forms |= {
        in_json.replace("/", "\\/"),
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value),
        repr(value)[1:-1],
        repr(raw)[2:-1],
    }
    forms |= {
        "".join(spelling.format(ord(c)) if c in signs else c for c in value) for signs, spelling in _SPELT_BY_OTHERS
    }
    forms |= {raw.hex(), raw.hex().upper(), raw.hex(" "), raw.hex(":"), raw.hex(":").upper()}
    forms |= {separator.join(map(str, raw)) for separator in (",", ", ")}  # as JSON and Python list bytes
    two_bytes = value.encode("utf-16-le", "replace")
    forms |= {two_bytes.decode("latin-1"), repr(two_bytes)[2:-1]}
    forms |= {raw.decode("latin-1"), value.encode("utf-16-be", "replace").decode("latin-1")}  # read in a wrong encoding
    for one in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        text = one.decode()
        forms |= {text, text.rstrip("=")}
        forms |= {end.join(wrap(text, width)) for width in (64, 76) for end in ("\n", "\r\n") if len(text) > width}
    return forms


def squeezed(text: str) -> bytes:
    """The letters, in small, and the digits of a text, in UTF-8; of ASCII's other signs, none."""
    return text.encode("utf-8", "replace").lower().translate(None, _NO_SPELLING)


def is_spelt(form: str, spellings: Collection[bytes]) -> bool:
    """Whether to look for the spellings finds this form as a whole."""
    return form[:1].isalnum() and form[-1:].isalnum() and squeezed(form) in spellings


@cache  # a run learns its secrets one after another, and asks again for all of them each time
def spellings(value: str) -> frozenset[bytes]:
    r"""How a value stands in `squeezed`, in each form that letters and digits keep: as it is, backwards, in numbers
    (`70`, `\x70`, `0x70`, `\u0070`, `\u{70}`, `&#112;`, `\160`), in base64 and in base32. A short one is left out: it
    would mask ordinary words.
    """
    raw, two_bytes = value.encode(), value.encode("utf-16-le", "replace")
    found = {value, unescaped(value), value[::-1], raw.hex(), two_bytes.hex()[:-2]}
    found |= {"".join(form.format(byte) for byte in raw) for form in _OF_BYTES}
    found |= {"".join(form.format(ord(sign)) for sign in value) for form in _OF_SIGNS}
    found |= {
        "".join(sign if sign.isalnum() or sign in kept else form.format(ord(sign)) for sign in value)
        for form in _OF_EACH_SIGN
        for kept in ("", _IN_A_HEADER)
    }
    found |= {
        *_inside(raw, 6, base64.b64encode),
        *_inside(two_bytes, 6, base64.b64encode),
        *_inside(raw, 5, base64.b32encode),
        *_inside(raw, 5, base64.b32hexencode),
    }
    return frozenset(spelt for form in found if len(spelt := squeezed(form)) >= _SHORTEST_SPELLING)


def _inside(raw: bytes, bits: int, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """What stands in an encoding of so many bits for each sign wherever the bytes are a part of what is encoded: the
    signs that no other byte has a part in. A byte is encoded in one of a few ways, by its place.
    """
    for before in range(bits // 2 if bits == 6 else bits):
        first, last = -(-before * 8 // bits), (before + len(raw)) * 8 // bits
        yield encode(bytes(before) + raw + bytes(bits)).decode()[first:last]
