"""Secrets in what every visitor can read: the kinds of keys and logins that a script or a style tells. Pure.

Only forms that name themselves count: a random text in a bundle is a hash, and keys for browsers (of maps, of payments,
of analytics) are meant to be read.
"""

from __future__ import annotations

import re

from gli.common.sentences import Said, phrase

_KINDS = {
    phrase("a private key"): re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?:\\[nr]|\s){1,4}[A-Za-z0-9+/]{40}"),
    phrase("an AWS access key"): re.compile(r"(?<![A-Za-z0-9+/])A(?:KIA|SIA)[A-Z0-9]{16}(?<!EXAMPLE)(?![A-Za-z0-9+/])"),
    phrase("a payment service's secret key"): re.compile(r"(?<!\w)[sr]k_live_[A-Za-z0-9]{16,}"),
    phrase("a GitHub token"): re.compile(r"(?<!\w)g(?:h[pousr]_[A-Za-z0-9]{36}|ithub_pat_\w{40,})"),
    phrase("a Slack token"): re.compile(r"(?<!\w)xox[abprs]-\d{8,}-[\w-]{10,}"),
    phrase("a chat's webhook"): re.compile(r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}"),
    phrase("a mail service's key"): re.compile(r"(?<!\w)SG\.[\w-]{16,}\.[\w-]{30,}"),
    phrase("a login to a server"): re.compile(
        r"(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|rediss?|amqps?)://[^\s:@/\"'`$]{1,64}:[^\s:@/\"'`$]{3,128}@[\w.-]+\.\w"
    ),
}


def told(text: str) -> tuple[Said, ...]:
    """The kinds of secrets in a text, without their values."""
    return tuple(kind for kind, form in _KINDS.items() if form.search(text))
