"""The places that give a secret away, whoever knows its value: passwords in URLs and DSNs, headers that carry
credentials, cookies, tokens of a known shape, private keys.

Source of truth: RFC 3986 (userinfo), RFC 7235 (credentials), RFC 7519 (JSON Web Tokens), libpq's connection strings,
and what GitHub, GitLab, npm, Slack, Stripe and AWS say of their tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MASK = "***"
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
KEYS = re.compile(
    rf"(?:set-)?cookie|{_HEADERS}|passw(?:or)?d|(?:aws_)?(?:secret_access_key|session_token)", re.IGNORECASE
)


def without_places(text: str) -> str:
    """The text, with the mask wherever its place gives a secret away."""
    low = lowered(text)
    present = _present(low)  # the mask adds no such word
    for words, pattern in _PLACES:
        if words.isdisjoint(present):
            continue
        spans = [found.span(1) for found in pattern.finditer(low) if found[1] is not None]
        if "eyj" in words:
            spans = [(begin - 3, end) for begin, end in spans]  # what is hidden begins with the word
        if spans:
            text, low = masked(text, spans), masked(low, spans)
    return text


def places(low: str) -> list[tuple[int, int]]:
    """Where the secrets begin and end that their places give away, in a text in small letters."""
    present = _present(low)
    return [
        found.span(1)
        for words, pattern in _PLACES
        if not words.isdisjoint(present)
        for found in pattern.finditer(low)
        if found[1] is not None
    ]


def _present(low: str) -> set[str]:
    """The words of `_WORDS` that a text holds. A sign is found fast, and a word whose sign or part is missing is not
    looked for.
    """
    signs = frozenset(sign for sign in _SIGNS if sign in low)
    present: set[str] = set()
    for word, needs, stem in _WORDS:
        if needs <= signs and (stem is None or stem in present) and word in low:
            present.add(word)
    return present


def masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text, with the mask in place of these spans, which are sorted and do not overlap."""
    begins = [0, *(end for _, end in spans)]
    ends = [*(begin for begin, _ in spans), len(text)]
    return MASK.join([text[begin:end] for begin, end in zip(begins, ends, strict=True)])


def lowered(text: str) -> str:
    """The text in small letters, as long as it was; letters that only look small to `re.IGNORECASE` too."""
    if text.isascii():
        return text.lower()
    return text.replace("\u0130", "i").lower().replace("\u0131", "i").replace("\u017f", "s")
