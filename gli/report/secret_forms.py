"""The forms in which a secret travels: as other programs escape it, in numbers, in base64 and base32, and split.

`gli.report.redact` looks for them.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Collection, Iterator
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


def spellings(value: str) -> set[bytes]:
    r"""How a value stands in `squeezed`, in each form that letters and digits keep: as it is, backwards, in numbers
    (`70`, `\x70`, `0x70`, `\u0070`, `\u{70}`, `&#112;`, `\160`), in base64 and in base32. A short one is left out: it
    would mask ordinary words.
    """
    raw, two_bytes = value.encode(), value.encode("utf-16-le", "replace")
    found = {value, value[::-1], raw.hex(), two_bytes.hex()[:-2]}
    found |= {"".join(form.format(byte) for byte in raw) for form in ("{}", "{:03o}", "x{:02x}", "0x{:02x}")}
    found |= {"".join(form.format(ord(sign)) for sign in value) for form in ("u{:04x}", "u{:x}")}
    found |= {
        *_inside(raw, 6, base64.b64encode),
        *_inside(two_bytes, 6, base64.b64encode),
        *_inside(raw, 5, base64.b32encode),
    }
    return {spelt for form in found if len(spelt := squeezed(form)) >= _SHORTEST_SPELLING}


def _inside(raw: bytes, bits: int, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """What stands in an encoding of so many bits for each sign wherever the bytes are a part of what is encoded: the
    signs that no other byte has a part in. A byte is encoded in one of a few ways, by its place.
    """
    for before in range(bits // 2 if bits == 6 else bits):
        first, last = -(-before * 8 // bits), (before + len(raw)) * 8 // bits
        yield encode(bytes(before) + raw + bytes(bits)).decode()[first:last]
