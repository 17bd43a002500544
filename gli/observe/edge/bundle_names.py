"""What a script or a style names: the scripts that it imports, its chunks, styles and fonts, and the origins it calls.

Pure. A hostile server chooses the text, of up to 20 MB: the time of each pattern grows only with the length of the text
(no two parts of a pattern that follow each other match the same sign without a limit), and so many names that no bundle
has them count as unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urljoin

MOST_NAMES = 20_000
"""How many places in one file are looked at that may name another file or an origin."""
_LONGEST_NAME, _LONGEST_ORIGIN = 4_000, 300
_IMPORTED = re.compile(r"""(?:\bfrom|\bimport)\s*+\(?\s*+["'`]((?:\.{0,2}/)[^"'`\s]+?\.m?js)["'`]""")
_IN_BUNDLE = re.compile(
    r"""(?P<listed>["'`]assets/[\w./-]++["'`])"""
    r"""|(?:\bfetch\(|\bgetJSON\(|\.open\(\s*+["'`]GET["'`]\s*+,)\s*+["'`](?P<fetched>(?:\.{0,2}/)[^"'`?#$\s]+\.json)"""
    r"""|\bnew\s+URL\(\s*+["'`](?P<beside>[^"'`$:\s]+\.\w+)["'`]\s*+,\s*+import\.meta\.url"""
    r"""|(?:\bnew\s+(?:Shared)?Worker|\bserviceWorker\??\.register)\(\s*+["'`](?P<worker>[^"'`$:?\s]+\.m?js)[?"'`]"""
    r"""|\bnew\s+\w++\(\s*+["'`](?P<workbox>/[^"'`$\s]+\.m?js)["'`]\s*+,\s*+\{\s*+scope\s*+:"""  # vite-plugin-pwa
)
_FILE = r"""["']?url["']?\s*+:\s*+["'](?P<{}>[^"'?\s]+\.(?!html?["'])\w+)["']"""
_KEPT = re.compile(
    r"""\{\s*+["']?revision["']?\s*+:\s*+(?:null|["'][^"']*["'])\s*+,\s*+"""
    + _FILE.format("second")
    + r"|\{\s*+"
    + _FILE.format("first")
    + r"""\s*+,\s*+["']?revision["']?\s*+:"""
)
"""What a service worker of Workbox keeps, pages apart: if a file is missing, browsers do not install the worker."""
_CHUNK_KINDS = (".js", ".mjs", ".css")
_SHORTEST_HASH = 6
_COMMENT_BEGINS = re.compile(r"(?:^|[\s;{}(,])(/\*|//)")
_BEFORE, _LONGEST_LINE = 2_000, 500
_IN_STYLE = re.compile(r"""(?:\burl\(\s*+|@import\s++)["']?([^"')\s;]++)""")
_COMMENT_IN_STYLE = re.compile(r"/\*.*?\*/", re.DOTALL)
_URL = re.compile(r"""(?:https?|wss?)://[a-zA-Z0-9.-]+(?::\d+)?""")


@dataclass
class _Names:
    """What one file names."""

    found: set[str] = field(default_factory=set)
    left: int = MOST_NAMES

    @property
    def unread(self) -> bool:
        return self.left < 0

    def matches(self, pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
        for match in pattern.finditer(text):
            self.left -= 1
            if len(match[0]) > _LONGEST_NAME:
                self.left = -1
            if self.unread:
                return
            yield match


def origins(body: str) -> tuple[set[str], bool]:
    """The origins (`https://api…`, `wss://ws…`) in a text, and whether there are more than are read."""
    found: set[str] = set()
    for match in _URL.finditer(body):
        if len(match[0]) > _LONGEST_ORIGIN:
            return found, True
        found.add(match[0])
        if len(found) > MOST_NAMES:
            return found, True
    return found, False


def imports(url: str, body: str) -> tuple[set[str], bool]:
    """The scripts that a script imports, and whether there may be more."""
    names = _Names()
    for match in names.matches(_IMPORTED, body):
        if not _is_no_code(body, match):
            names.found.add(urljoin(url, match[1]))
    return names.found, names.unread


def in_style(url: str, body: str) -> tuple[set[str], bool]:
    """What a style needs, on any site, and whether there may be more."""
    names = _Names()
    closed = body.rfind("*/") + 2 if "*/" in body else 0
    text = _COMMENT_IN_STYLE.sub(" ", body[:closed]) + body[closed:].partition("/*")[0]
    for match in names.matches(_IN_STYLE, text):
        if not match[1].startswith(("data:", "#", "blob:")):
            names.found.add(urljoin(url, match[1]))
    return names.found, names.unread


def in_script(url: str, body: str, *, in_page: bool = False) -> tuple[set[str], bool]:
    """What else than imported scripts a script needs, on any site, and whether there may be more. `in_page`: it stands
    in the page itself.
    """
    names = _Names()
    for match in names.matches(_IN_BUNDLE, body):
        lazy, beside = match["listed"], match["beside"]
        if (lazy and not _is_chunk(lazy[1:-1])) or _is_no_code(body, match):
            continue
        # a path that is fetched, and a worker's, begin at the page: most pages of a bundle are at the root
        other = match["fetched"] or match["workbox"] or match["worker"]
        if match["worker"] and not other.startswith("/") and not in_page:
            continue  # the page that this script belongs to is not known here
        names.found.add(urljoin(url, beside) if beside else urljoin(url, "/" + lazy[1:-1] if lazy else other))
    for match in names.matches(_KEPT, body):
        names.found.add(urljoin(url, match["first"] or match["second"]))
    return names.found, names.unread


def _is_chunk(path: str) -> bool:
    """Whether a path is one of Vite's list of a chunk's dependencies: `assets/NAME-HASH.js`."""
    stem, point, kind = path.removeprefix("assets/").rpartition(".")
    last = max(stem.rfind("/"), stem.rfind(".")) + 1
    hyphen = stem.find("-", max(last, 1))
    return point + kind in _CHUNK_KINDS and 0 < hyphen < len(stem) - _SHORTEST_HASH


def _is_no_code(body: str, match: re.Match[str]) -> bool:
    """Whether a match stands in a comment, or in a text with other quotes. Only short lines are judged for the latter:
    a bundler leaves no comments, and writes one long line."""
    begins = max(0, match.start() - _BEFORE)
    before = body[begins : match.start()]
    opened = _COMMENT_BEGINS.search(before, before.rfind("*/") + 2 if "*/" in before else 0)
    if opened and opened[1] == "/*" and "*/" in body[match.end() : match.end() + _BEFORE]:
        return True
    line = before.rpartition("\n")[2]
    if len(line) >= _LONGEST_LINE:
        return False
    others = {'"', "'", "`"} - {match[0][-1]}
    return bool(re.search(r"(?:^|[\s;{}(,])//", line)) or any(line.count(quote) % 2 for quote in others)
