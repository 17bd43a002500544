"""The kinds of values that the tables of environments.toml hold, and how each is checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints
from pydantic import Field as Bounded

from gli.git import name_rules

ELSEWHERE = ("env:", "file:", "ssm:")
"""How a credential begins that is not in Secrets Manager."""
LOCAL = ("env:", "file:")
"""How a credential begins that this machine holds."""
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.scheme not in DEFAULT_PORTS:
        raise ValueError("a URL with a host, and with a port from 1 to 65535 if any, as in https://api.example.com")
    return url


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("host:port, with a port from 1 to 65535")
    return address


def _resolver(address: str) -> str:
    return _address(address) if address.count(":") == 1 else address


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as e:
        raise ValueError(f"a regular expression ({e})") from None
    return pattern


def _revision_place(where: str) -> str:
    """Where an answer names a revision: a JSON path, `body`, `header:NAME`; a pattern takes a part of the text."""
    kind, _, rest = where.partition(":")
    pattern = rest if kind == "body" else rest.partition(":")[2] if kind == "header" else ""
    if pattern and re.compile(_pattern(pattern)).groups != 1:
        raise ValueError("a pattern with one group, which is the revision, as in body:build ([0-9a-f]+)")
    return where


def _of_a_commit(template: str) -> str:
    """A template such as `api-{commit:.7}`: what stands for a commit, or for its release tag."""
    try:
        one, other = spelt(template, "0" * 40, "0", "(0)"), spelt(template, "1" * 40, "1", "(1)")
    except (LookupError, ValueError, AttributeError):
        one = other = ""
    if one == other:
        raise ValueError("a text with {commit}, as in v-{commit:.7}, or with {tag} or {version}")
    return template


def spelt(template: str, commit: str, tag: str, form: str) -> str:
    """The template for a commit: `{tag}` is its release tag (`v1.2.3`), `{version}` the tag from its first number on.

    `form` is the pattern of the tag, with a group for each number.
    """
    numbers = re.fullmatch(form, tag)
    starts = [numbers.start(number) for number in range(1, numbers.re.groups + 1)] if numbers else []
    first = min((start for start in starts if start >= 0), default=0)
    return template.format(commit=commit, tag=tag, version=tag[first:])


def names_tag(template: str) -> bool:
    """Whether a template needs a release tag."""
    return spelt(template, "0" * 40, "0", "(0)") != spelt(template, "0" * 40, "1", "(1)")


def _numbered(pattern: str) -> str:
    if _pattern(pattern) and not re.compile(pattern).groups:
        raise ValueError(r"a regular expression with a group for each number, as in v(\d+)\.(\d+)\.(\d+)")
    return pattern


def _role_arn(arn: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", arn):
        raise ValueError("the ARN of a role, as in arn:aws:iam::123456789012:role/gli-verify")
    return arn


def resolved(root: Path, source: str) -> str:
    """Where a credential is, with the path of a file resolved against `root`."""
    return f"file:{root / source.removeprefix('file:')}" if source.startswith("file:") else source


# Limits. NaN and impossible values are rejected: they would silently disable the check that uses the limit.
Count = Annotated[int, Bounded(ge=0)]
Least = Annotated[int, Bounded(ge=1)]
Days = Annotated[int, Bounded(ge=1, le=36_500)]
Hours = Annotated[int, Bounded(ge=1, le=8_760)]
Minutes = Annotated[int, Bounded(ge=1, le=525_600)]
Seconds = Annotated[float, Bounded(gt=0, le=86_400)]
Percent = Annotated[float, Bounded(gt=0, le=100)]
Port = Annotated[int, Bounded(ge=1, le=65_535)]
Url = Annotated[str, AfterValidator(_url)]
NoUrl = Annotated[str, AfterValidator(lambda url: url and _url(url))]
"""A URL, or nothing."""
Address = Annotated[str, AfterValidator(_address)]
Resolver = Annotated[str, AfterValidator(_resolver)]
RoleArn = Annotated[str, AfterValidator(_role_arn)]
Folder = Annotated[str, AfterValidator(name_rules.folder)]
RepositoryName = Annotated[str, AfterValidator(name_rules.repository)]
Timezone = Annotated[str, AfterValidator(name_rules.timezone)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Numbered = Annotated[str, AfterValidator(_numbered)]
Status = Annotated[int, Bounded(ge=100, le=599)]
OfACommit = Annotated[str, AfterValidator(_of_a_commit)]
RevisionPlace = Annotated[str, AfterValidator(_revision_place)]
NonBlank = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
LowerCase = Annotated[str, StringConstraints(to_lower=True)]
"""The name of a resource that AWS keeps in lower case, however it was created."""
