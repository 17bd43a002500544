"""Whether a plain variable of a task definition holds a secret, by its name and its value. Pure."""

from __future__ import annotations

import re

_PASSWORD_NAME = re.compile(
    r"(?:^|_)(?:\w*PASSWORD|\w*PASSWD|\w*PASSPHRASE|PASS|PWD|(?:DB|PG|SQL|SMTP|MQ|ROOT|USER|ADMIN)(?:PASS|PWD)"
    r"|SECRET|(?:SECRET|PRIVATE)(?:_\w+)?_?(?:KEY|TOKEN))(?:_(?:V?\d+|OLD|NEW|PREVIOUS|CURRENT|NEXT))?$"
)
_LOGIN_NAME = re.compile(r"(?:^|_)(?:AUTH|CREDENTIALS?)(?:_V?\d+)?$")
_KIND_OF_LOGIN = re.compile(r"(?:oauth|openid|oidc|basic|bearer|digest|ldap|saml|kerberos|scram)", re.IGNORECASE)
_PLACE = re.compile(r"/?[a-z_.-]+(?:/[a-z_.-]+)+", re.ASCII)
"""The name of a secret in Secrets Manager: `stg/gli/database`."""
_PASSES_TO = re.compile(r"https?://[^\s@]*")
"""An address that a proxy passes to (`PROXY_PASS`), or where a password is changed."""
_KEY_NAME = re.compile(r"(?:TOKEN|KEY|SALT|SEED|PEPPER|SIGNING|HMAC|FERNET|CIPHER)(?:_(?:V?\d+|OLD|NEW))?$")
_OPEN_NAME = re.compile(r"(?:^|_)(?:PUBLIC|PUBLISHABLE|SITE|ANON)(?:_|$)")
"""Names of keys that are public: every browser that loads the page has them."""
_KEY_OF_KMS = re.compile(r"(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})")
"""The id of a key that never leaves AWS KMS; for several regions, it begins with `mrk-`."""
_NAMES_A_THING = re.compile(r"(?:^|_)(?:ID|IDS|HASH|DIGEST|SHA\d*|CHECKSUM|FINGERPRINT|INTEGRITY|CERT|CERTIFICATE)$")
_LOGIN_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_IN_A_TEXT = re.compile(
    r"""(?:password|passwd|pwd|secret|accountkey)["']?\s*[=:]\s*["']?([^\s;,&"'{}<>$%*]{6,})""", re.IGNORECASE
)
"""A password inside a connection string or JSON: `host=db password=…`, `Server=db;Pwd=…`, `{"password": "…"}`."""
_KNOWN_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:sk|rk)_live_\w{10,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bxox[abprs]-[\w-]{10,}|\bglpat-[\w-]{20,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bSG\.[\w-]{16,}\.[\w-]{16,}|\beyJ[\w-]{10,4000}\.eyJ[\w-]{10,}\.[\w-]{10,}"
    r"|hooks\.slack\.com/(?:services|workflows)/[\w/]{10,}|discord(?:app)?\.com/api/webhooks/\d+/[\w-]{10,}"
    r"|\.office\.com/webhook|\bhooks\.zapier\.com/hooks/catch/\w|\b\d{8,10}:AA[\w-]{30,}|\bSK[0-9a-f]{32}\b"
    r"|[?&](?:sig|X-Amz-Signature)=[\w%+/=-]{20,}|\b(?:Bearer|Basic) [\w.~+/-]{16,}=*"
    r"|\bAIza[\w-]{35}\b|\bnpm_\w{36}\b|\bsk-(?:proj-|ant-)?[\w-]{20,}|\bdop_v1_\w{64}\b"
)
"""Secrets with a known form, whatever the variable's name is."""
_RANDOM = re.compile(r"[A-Za-z0-9+/_=.-]{16,}")
_SHORTEST_RANDOM, _SHORTEST_UNNAMED = 16, 32
_LONGEST_NAME = 300  # how a name ends tells what it is, and the patterns take the square of its length
_SHORTEST_LOGIN = 8
_SHORT_RUNS = 2.8
"""A value looks random if its runs of one kind of characters are shorter on average. In a hexadecimal or base64 token
the average is 2, in words and dates 4 or more."""
_HARMLESS = re.compile(r"(?:true|false|yes|no|on|off|none|null|\d{1,6})", re.IGNORECASE)


def is_secret(name: str, value: str) -> bool:
    """Whether a plain variable holds a secret: its value has a known form, or its name and its value look like one.

    For a KEY, TOKEN or SALT, the value must also look random: a cache key, a header's name or a public key is not
    secret. A long value that looks random is a secret under any name, except that of an id or a checksum.
    """
    if not value or value.startswith("arn:"):
        return False
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name[-_LONGEST_NAME:]).upper()
    public = bool(_OPEN_NAME.search(words))
    if _LOGIN_IN_URL.search(value) or (_KNOWN_SECRET.search(value) and not public):
        return True
    if public or _HARMLESS.fullmatch(value) or _PLACE.fullmatch(value):
        return False
    if "KMS" in words.split("_") and _KEY_OF_KMS.fullmatch(value):
        return False
    inside = _IN_A_TEXT.search(value)
    if inside and not _HARMLESS.fullmatch(inside[1]) and not _PLACE.fullmatch(inside[1]):
        return True
    if _LOGIN_NAME.search(words):
        return len(value) >= _SHORTEST_LOGIN and not _KIND_OF_LOGIN.search(value) and bool(re.search(r"\d", value))
    if _PASSWORD_NAME.search(words):
        return not _PASSES_TO.fullmatch(value)
    return drawn_at_random(value) and (bool(_KEY_NAME.search(words)) or _unmistakable(words, value))


def drawn_at_random(value: str) -> bool:
    """Whether the value looks random: letters and digits alternate more often than in words, dates, paths or hosts."""
    if not _RANDOM.fullmatch(value) or value.startswith(("/", "pk_")):
        return False
    signs = re.sub(r"[^A-Za-z0-9]", "", value)
    if re.fullmatch(r"[0-9a-f]{24,}", signs, re.IGNORECASE) and not signs.isdecimal():
        return True
    runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", signs)
    return len(signs) >= _SHORTEST_RANDOM and len(signs) / len(runs) < _SHORT_RUNS


def _unmistakable(words: str, value: str) -> bool:
    """Whether a random value can hardly be an id, a commit or a checksum: it is long and has both cases and digits."""
    kinds = (r"[a-z]", r"[A-Z]", r"\d")
    long = len(value) >= _SHORTEST_UNNAMED and all(re.search(kind, value) for kind in kinds)
    return long and not _NAMES_A_THING.search(words) and not re.match(r"sha\d+[-:]", value)
