"""The tables of the database, the cache and the broker, with the secrets that fit them."""

from __future__ import annotations

import re
from typing import NamedTuple

from gli.observe.aws.task_definitions import Reference
from gli.observe.discovery.account import Account, Store
from gli.observe.discovery.draft import Draft, few

_WORDS = {
    "database": re.compile(r"(?:^|[/_.-])(?:databases?|db|postgres\w*|pg|rds)(?:$|[/_.-])", re.IGNORECASE),
    "cache": re.compile(r"(?:^|[/_.-])(?:cache|redis|valkey|elasticache)(?:$|[/_.-])", re.IGNORECASE),
    "broker": re.compile(r"(?:^|[/_.-])(?:broker|rabbit\w*|amqp|mq)(?:$|[/_.-])", re.IGNORECASE),
}
"""The words in the names of secrets and variables that tell whose credentials they are."""


_TO_VERIFY = re.compile(r"verify|read-?only|monitor", re.IGNORECASE)


_URL_FIELD = re.compile(r"(?:url|dsn|uri)$", re.IGNORECASE)


_PORTS = {"database": 5432, "cache": 6379, "broker": 5671}


class _Credentials(NamedTuple):
    secret: str = ""
    verify: str = ""
    field: str = ""
    """The key of the secret's JSON object that holds a URL."""
    others: tuple[str, ...] = ()


def _credentials(account: Account, part: str, store: str) -> _Credentials:
    """The credentials of a part, by the words in their names, and in the variables that the tasks read them from.

    Without such words: the secret that is called like the database, cache or broker itself.
    """
    word = _WORDS[part]
    references = [r for service in account.services for r in service.container.references]
    used = {_source(r): r for r in references if _source(r) and (word.search(r.variable) or word.search(_source(r)))}
    named = [*used, *(name for name in account.secrets if word.search(name) and name not in used)]
    if not named and store:
        named = [name for name in account.secrets if _alike(name) == _alike(store)]
        named += [n for n in account.secrets if _alike(n).startswith(f"{_alike(store)}-") and _TO_VERIFY.search(n)]
    own = [name for name in named if not _TO_VERIFY.search(name)]
    verify = [name for name in named if _TO_VERIFY.search(name)]
    if not own:
        return _Credentials(verify=next(iter(verify), ""))
    field = used[own[0]].field if own[0] in used else None
    url = field if field and _URL_FIELD.search(field) else ""
    return _Credentials(own[0], next(iter(verify), ""), url, tuple(own[1:] + verify[1:]))


def _alike(name: str) -> str:
    return re.sub(r"[/_.]", "-", name)


def _source(reference: Reference) -> str:
    """Where the credential of a variable is, as `environments.toml` says it."""
    return reference.secret or (f"ssm:{reference.parameter}" if reference.parameter else "")


def put_data_tier(draft: Draft, account: Account) -> None:
    """Puts the tables of the database, the cache and the broker."""
    keys = {"database": "instance", "cache": "replication_group", "broker": "amazon_mq"}
    stores = {"database": account.databases, "cache": account.caches, "broker": account.brokers}
    for part, key in keys.items():
        first = next(iter(stores[part]), None)
        found = _credentials(account, part, first.name if first else "")
        secret = found.secret or (first.secret if first else None) or ""
        if not secret:
            if first:
                draft.note((), f"not described: {part} {first.name}: write [ENV.{part}] with its secret and {key}")
            continue
        draft.put((part, "secret"), secret, "by its name, which was all that was read of it")
        draft.put((part, "verify_secret"), found.verify)
        if found.others:
            draft.note((part, "secret"), f"also fitting: {few(found.others)}")
        if found.field:
            draft.put((part, "fields"), {"url": found.field})
        elif part == "database":
            draft.note((part, "fields"), 'fields = { url = "DATABASE_URL" }   # if it holds a URL under such a name')
        if first is not None:
            draft.put((part, key), first.name)
            _network(draft, account, part, first)
            if others := [store.name for store in stores[part][1:]]:
                draft.note((part, key), f"also seen: {few(others)}")
        else:
            draft.note((part, key), f"{key}: AWS lists none that matches, so only its connections are checked")


def _network(draft: Draft, account: Account, part: str, store: Store) -> None:
    """The groups that may reach a part of the data tier, and its own."""
    groups = [g for g in account.security_groups if g.id in store.groups]
    openings = [o for g in groups for o in g.reaching(store.port or _PORTS[part])]
    if part != "database" and groups:
        draft.put((part, "security_group"), groups[0].name)
    draft.put((part, "ingress_from"), sorted({o.source for o in openings if o.source_id.startswith("sg-")}))
    if strangers := sorted({o.source for o in openings if not o.source_id.startswith("sg-")}):
        draft.note((part, "ingress_from"), f"open to addresses too, which its check refuses: {few(strangers)}")
