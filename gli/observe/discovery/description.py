"""The tables of an environment from what was seen of it. Pure: asks nothing.

A key is written only if an answer of AWS, of a URL or of git shows its value. What is likely and not shown is a comment
with what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gli.git.branches import BRANCHES
from gli.observe.aws.load_balancer import Balancer
from gli.observe.aws.task_definitions import Reference
from gli.observe.discovery.account import Account, Deployed, Store
from gli.observe.discovery.draft import Draft, Path
from gli.observe.discovery.places import Place
from gli.observe.discovery.web import DEEP_PATHS, HEALTH_PATHS, META, MISSING_PATH, Seen, escaped
from gli.observe.engine.observation import Observation
from gli.observe.release.git_refs import Heads

_WORDS = {
    "database": re.compile(r"(?:^|[/_.-])(?:databases?|db|postgres\w*|pg|rds)(?:$|[/_.-])", re.IGNORECASE),
    "cache": re.compile(r"(?:^|[/_.-])(?:cache|redis|valkey|elasticache)(?:$|[/_.-])", re.IGNORECASE),
    "broker": re.compile(r"(?:^|[/_.-])(?:broker|rabbit\w*|amqp|mq)(?:$|[/_.-])", re.IGNORECASE),
}
"""The words in the names of secrets and variables that tell whose credentials they are."""
_TO_VERIFY = re.compile(r"verify|read-?only|monitor", re.IGNORECASE)
_URL_FIELD = re.compile(r"(?:url|dsn|uri)$", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{7,40}$")
_GITHUB = re.compile(r"(?:git@|ssh://git@|https://)github\.com[:/]([\w.-]+)/")
_DEPLOYED = re.compile(r"(?!rollback-|reset-|emergency-|acknowledged-)(\w[\w.]*)-\d{8}-\d{6}")
_LOG_BRANCH = "deployments"
_STAGES = {
    **dict.fromkeys(("dev", "develop", "development"), 0),
    **dict.fromkeys(("stg", "stage", "staging", "test", "release", "uat", "preprod"), 1),
    **dict.fromkeys(("main", "master", "prod", "production", "live"), 2),
}
"""The usual names of branches, by their order on the way to production."""
_PORTS = {"database": 5432, "cache": 6379, "broker": 5671}
_MOST_NAMES = 12
_USUAL_PORTS = (80, 443)


class Whole(Observation):
    """Everything that was seen of one environment."""

    account: Account | None = None
    region: str = ""
    places: tuple[Place, ...] = ()
    seen: Mapping[str, Seen] = {}
    """`Place.key` to what the host answered there."""
    sockets: Mapping[str, str] = {}
    """Host to the path that accepted a WebSocket handshake."""
    heads: tuple[Heads, ...] = ()
    remote: str = ""
    named: Mapping[str, str] = {}
    """Host, and URL, to the name that the user gave its service, or its frontend where it has no service."""
    pages: Mapping[str, str] = {}
    """Host to the name that the user gave its frontend."""


def describe(whole: Whole) -> Draft:
    """The tables, with a comment for what could not be told."""
    draft = Draft()
    _environment(draft, whole)
    if whole.account is not None:
        _aws(draft, whole.account, whole.region)
    _git(draft, whole)
    _zone(draft, whole)
    if whole.account is not None:
        _load_balancer(draft, whole.account, whole.places)
    _reachable(draft, whole)
    if whole.account is not None:
        _data_tier(draft, whole.account)
        draft.put(("logs", "groups"), whole.account.log_groups)
        _alarms(draft, whole.account)
    _missing(draft)
    return draft


def _environment(draft: Draft, whole: Whole) -> None:
    at: dict[str, int] = {}
    running = {commit for place in whole.places if (commit := _running(whole, place))}
    for commit in running:
        for branch in {b for heads in whole.heads for b, head in heads.branches.items() if head.startswith(commit)}:
            at[branch] = at.get(branch, 0) + 1
    best = sorted(branch for branch, n in at.items() if n == max(at.values()))
    if len(best) == 1:
        draft.put(("branch",), best[0])
    else:
        seen = f"these branches are at the commits that run: {', '.join(best)}" if best else "no branch was seen"
        draft.put(("branch",), best[0] if best else "main", f"write the branch that this environment runs; {seen}")
    draft.note(("production",), "production = true   # if it is: its checks are then stricter")
    if account := whole.account:
        for kind, names in account.left.items():
            draft.note((), f"left out, because no --match fits: {kind} {_few(names)}")
        for kind, why in account.untold.items():
            draft.note((), f"could not tell: {kind}: {why}")


def _aws(draft: Draft, account: Account, region: str) -> None:
    draft.put(("aws", "region"), region)
    draft.put(("aws", "account_id"), account.identity.account)
    parts = account.identity.arn.split("/")
    role = f"{parts[0].replace(account.identity.account, '*')}/{parts[1]}/*" if len(parts) > 2 else account.identity.arn
    draft.note(("aws", "role"), f'role = "{role}"   # asked as this identity; write that of the runs')


def _git(draft: Draft, whole: Whole) -> None:
    if not whole.remote:
        return
    draft.put(("git", "remote"), whole.remote)
    for heads in whole.heads:
        if heads.error:
            draft.note(("git",), f"could not list {heads.repository}: {heads.error}")
    seen = [h for h in whole.heads if not h.error]
    everywhere = set.intersection(*[{*h.branches} for h in seen]) if seen else set()
    if seen and not {*BRANCHES} <= everywhere:
        names = sorted(everywhere - {_LOG_BRANCH})
        usual = sorted((name for name in names if name in _STAGES), key=lambda name: _STAGES[name])
        without = {draft.tables["branch"]} & {*names} - {*usual}  # a path without the environment's own is none
        told = len({_STAGES[name] for name in usual}) == len(usual) and not without
        path = usual if told else []
        text = "those that a release moves through, the live one last"
        draft.put(("git", "branches"), path or names[:1], f"{text}; in every repository: {_few(names) or 'none'}")
    if found := _GITHUB.match(whole.remote):
        text = f'owner = "{found[1]}" and environment = "...", the GitHub environment that the branch deploys to'
        draft.note(("git",), f"its workflows are checked with [ENV.github]: {text}")
    forms = [{f"{m[1]}-%Y%m%d-%H%M%S" for tag in h.tags if (m := _DEPLOYED.fullmatch(tag))} for h in seen]
    if shared := sorted(set.intersection(*forms)) if forms else []:
        draft.put(("git", "deploy_tag"), shared[0], "the form of tags that every repository has")
    if logs := [h.repository for h in seen if _LOG_BRANCH in h.branches]:
        draft.put(("git", "log_repository"), logs[0])


def _zone(draft: Draft, whole: Whole) -> None:
    hosts = {place.host for place in whole.places}
    zones = whole.account.zones if whole.account else ()
    covering = [z for z in zones if hosts and all(h == z or h.endswith(f".{z}") for h in hosts)]
    if covering:
        draft.put(("dns", "zone"), max(covering, key=len))
    elif zones:
        draft.note(("dns", "zone"), f"zone = ...   # no zone covers every host; the account has {_few(zones)}")


def _main_balancer(account: Account, places: Iterable[Place]) -> Balancer | None:
    """The load balancer that most services are behind: of several, an application load balancer first."""
    behind = [place.balancer for place in places if place.balancer]
    order = sorted(account.balancers, key=lambda b: (-behind.count(b.name), b.type, b.name))
    return next(iter(order), None)


def _load_balancer(draft: Draft, account: Account, places: Iterable[Place]) -> None:
    balancer = _main_balancer(account, places)
    if balancer is None:
        return
    used = {place.balancer for place in places}
    others = sorted(b.name for b in account.balancers if b is not balancer and b.name not in used)
    draft.put(("load_balancer", "name"), balancer.name, *([f"also seen: {_few(others)}"] if others else []))
    draft.put(("load_balancer", "type"), balancer.type if balancer.type != "application" else "")
    tests = [x.port for x in balancer.listeners if x.protocol == "HTTPS" and x.port not in _USUAL_PORTS]
    if len(tests) == 1:
        draft.put(("load_balancer", "test_port"), tests[0], "the listener with HTTPS beside 443")
    groups = [g for g in account.security_groups if g.id in balancer.security_groups]
    some = [o for g in groups for o in g.openings if not o.world and o.first_port not in _USUAL_PORTS]
    if not tests and some:
        text = "test_port = ...   # if one of these shows new tasks before users get them"
        draft.note(("load_balancer", "test_port"), f"{text}: {_few(map(str, some))}")
    open_ = sorted({o.first_port for g in groups for o in g.openings if o.world and o.first_port == o.last_port})
    if open_ and tuple(open_) != _USUAL_PORTS:
        draft.put(("load_balancer", "ports_open_to_the_world"), open_, "as they are open now: should they be?")


def _reachable(draft: Draft, whole: Whole) -> None:
    """The services and frontends."""
    names = _names(whole)
    frontends = [place for place in whole.places if _is_frontend(whole, place)]
    services = [place for place in whole.places if place not in frontends or _serves_both(whole, place)]
    calls = {p.key: names[p.key] for p in services}
    for place in services:
        _service(draft, whole, place, ("services", names[place.key]))
    for place in whole.places:
        if place.socket:
            name = whole.named.get(place.socket) or f"{names[place.key]}-socket"
            _address(draft, ("services", name), place.socket)
            _repository(draft, whole, place, ("services", name))
    for place in frontends:
        name = whole.pages.get(place.url.rstrip("/") if place.prefix else place.host) or names[place.key] + (
            "-page" if place in services else ""
        )
        _frontend(draft, whole, place, ("frontends", name), calls)
    if whole.account:
        reached = {place.service.ecs.name for place in whole.places if place.service}
        for each in whole.account.services:
            if each.ecs.name in reached:
                continue
            if not each.ecs.every_group:
                _worker(draft, whole, each)
            else:
                where = f"{each.ecs.cluster}/{each.ecs.name}"
                draft.note((), f"not described: the ECS service {where}: no rule for HTTPS of a load balancer names it")


def _worker(draft: Draft, whole: Whole, service: Deployed) -> None:
    """A service that no load balancer sends requests to."""
    taken = {*draft.tables.get("services", {}), *draft.tables.get("frontends", {})}
    name = service.container.name if service.container.name not in taken else service.ecs.name
    place, at = Place(url="", service=service), ("services", name)
    _repository(draft, whole, place, at)
    _series(draft, whole, place, at)
    _deployed(draft, whole, place, at)
    draft.note((*at, "url"), "no load balancer sends it requests: a worker, unless it has a url")


def _is_frontend(whole: Whole, place: Place) -> bool:
    if place.service is not None or place.url.startswith("ws"):
        return False
    seen = whole.seen.get(place.key)
    return bool(place.site and place.site.bucket) or bool(seen and seen.page)


def _serves_both(whole: Whole, place: Place) -> bool:
    """Whether the host of a page is also that of an API: it answers a path of health in something else than HTML."""
    seen = whole.seen.get(place.key)
    paths = (*([place.health_path] if place.health_path else []), *HEALTH_PATHS, *DEEP_PATHS)
    return bool(
        seen and not (place.site and place.site.bucket) and any(seen.statuses.get(p) == 200 for p in paths if p != "/")
    )


def _address(draft: Draft, at: Path, url: str) -> None:
    draft.put((*at, "url"), url)
    if "{token}" in url:
        where = 'authorization = { bearer = "..." }   # where the token of its URL is, as in env:SOCKET_TOKEN'
        draft.note((*at, "authorization"), where)


def _service(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    seen = whole.seen.get(place.key) or Seen(url=place.origin, error="it was not asked")
    _address(draft, at, _url(whole, place))
    if place.also:
        draft.note(at, f"also reached as {_few(place.also)}")
    _repository(draft, whole, place, at)
    _series(draft, whole, place, at)
    main = _main_balancer(whole.account, whole.places) if whole.account else None
    if whole.account and main and place.balancer not in (None, main.name):
        own = next(b for b in whole.account.balancers if b.name == place.balancer)
        draft.put((*at, "load_balancer", "name"), own.name)
        draft.put((*at, "load_balancer", "type"), own.type if own.type != "application" else "")
    if place.service:
        _deployed(draft, whole, place, at)
    answered = [path for path in HEALTH_PATHS if seen.statuses.get(path) == 200]
    if _asks_everybody(seen):
        text = "every path answered 401: write its login, and discover it again"
        draft.note((*at, "authorization"), f'authorization = {{ basic = "..." }}   # {text}')
    health = (
        (place.health_path or "").removeprefix(place.prefix)
        or next(iter(answered), None)
        or ("/" if seen.statuses.get("/") == 200 else None)
    )
    if health:
        draft.put((*at, "health_path"), health)
    else:
        draft.note((*at, "health_path"), f'health_path = "..."   # none of {_few(HEALTH_PATHS)} answered 200')
    if seen.error:
        draft.note(at, f"{seen.url} did not answer: {seen.error}")
    if _is_socket(whole, place):
        return
    if told := [(path, found) for path, found in seen.revisions.items() if path != META]:
        path, (where, commit) = told[0]
        draft.put((*at, "version_path"), path)
        draft.put((*at, "version_at"), where if where != "revision" else "")
        draft.put((*at, "version"), _shortened(commit) if len(commit) < 40 else "")
    else:
        draft.note((*at, "version_path"), 'version_path = "..."   # no usual path names a commit')
    _deep(draft, seen, at)
    if seen.statuses.get(MISSING_PATH) == 404:
        draft.put((*at, "error_path"), MISSING_PATH)


def _deployed(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    """What ECS shows of a service."""
    assert place.service is not None
    ecs, container = place.service.ecs, place.service.container
    address, _, tag = container.image.partition("@")[0].rpartition(":")
    if container.registry and address:
        draft.put((*at, "image"), address.partition("/")[2])
        if commit := _COMMIT.search(tag):
            spelt = tag.removesuffix(commit[0]) + (_shortened(commit[0]) if len(commit[0]) < 40 else "{commit}")
            draft.put((*at, "tag"), spelt if spelt != "{commit}" else "")
        elif found := _released(whole, place):
            draft.put((*at, "release_tag"), found.form, f"the image {tag} is of the tag {found.tag}")
            draft.put((*at, "tag"), "{version}" if found.tag != tag else "{tag}")
        else:
            draft.note((*at, "tag"), f'tag = "..."   # of {container.image}: it names no commit')
    elif container.image:
        draft.note((*at, "image"), f'image = "..."   # runs {container.image}, which names no tag in ECR')
    draft.put((*at, "log_group"), container.log_group)
    draft.put((*at, "ecs", "cluster"), ecs.cluster)
    draft.put((*at, "ecs", "service"), ecs.name)
    draft.put((*at, "ecs", "container"), container.name)
    draft.put((*at, "ecs", "port"), place.service.port)
    draft.put((*at, "ecs", "launch_type"), place.service.launch_type if place.service.launch_type != "FARGATE" else "")
    draft.put((*at, "ecs", "network"), place.service.network if place.service.network != "awsvpc" else "")
    if place.service.others:
        draft.note((*at, "ecs"), f"the task's other containers: {_few(place.service.others)}")


class _Released(NamedTuple):
    tag: str
    form: str
    """The pattern of the tag's series."""
    commit: str


def _released(whole: Whole, place: Place) -> _Released | None:
    """The tag of git that ends like the image's tag (`web-v1.2.3` for `1.2.3`); None if several do, or none."""
    image = place.service.container.image.partition("@")[0].rpartition(":")[2] if place.service else ""
    if not re.search(r"\d", image):
        return None
    ends = re.compile(rf"(?P<before>(?:.*[^\d.])?){re.escape(image)}")
    found = {tag: commit for heads in whole.heads for tag, commit in heads.tags.items() if ends.fullmatch(tag)}
    named = {tag: c for tag, c in found.items() if place.service and place.service.container.name in tag} or found
    if len(named) != 1:
        return None
    ((tag, commit),) = named.items()
    form = escaped(tag.removesuffix(image)) + re.sub(r"\d+", lambda _: r"(\d+)", escaped(image))
    return _Released(tag, form, commit)


def _deep(draft: Draft, seen: Seen, at: Path) -> None:
    """The deep health document, or the path that asks for a token."""
    for path, document in seen.deep.items():
        draft.put((*at, "deep_health_path"), path)
        if {**document} != {"database": "ok", "cache": "ok"}:
            draft.put((*at, "deep_health_values"), dict(document), "as they are now: take out what may change")
        return
    for path in DEEP_PATHS:
        if seen.statuses.get(path) in (401, 403) and not _asks_everybody(seen):
            text = f'deep_health_path = "{path}"   # answered {seen.statuses[path]}: name the secret with its token'
            draft.note((*at, "deep_health_path"), f"{text} as deep_health_secret")
            return


def _asks_everybody(seen: Seen) -> bool:
    """Whether no path of a host answers without a login."""
    return bool(seen.statuses) and {*seen.statuses.values()} == {401}


def _frontend(draft: Draft, whole: Whole, place: Place, at: Path, calls: Mapping[str, str]) -> None:
    seen = whole.seen.get(place.key) or Seen(url=place.origin, error="it was not asked")
    draft.put((*at, "url"), place.url)
    if place.also:
        draft.note(at, f"also reached as {_few(place.also)}")
    _repository(draft, whole, place, at)
    _series(draft, whole, place, at)
    if place.site:
        draft.put((*at, "bucket"), place.site.bucket)
        draft.put((*at, "origin_path"), f"{place.site.origin_path}{place.prefix}")
        draft.put((*at, "countries"), place.site.countries)
    if seen.error:
        draft.note(at, f"{seen.url} did not answer: {seen.error}")
        return
    draft.put((*at, "mount"), seen.mount)
    if seen.meta:
        draft.put((*at, "build_meta"), seen.meta if seen.meta != "build" else "")
        _, commit = seen.revisions.get(META, (META, ""))
        draft.put((*at, "version"), _shortened(commit) if 0 < len(commit) < 40 else "")
    elif seen.revisions:
        path, (where, commit) = next(iter(seen.revisions.items()))
        draft.put((*at, "version_path"), path)
        draft.put((*at, "version_at"), where if where != "revision" else "")
        draft.put((*at, "version"), _shortened(commit) if len(commit) < 40 else "")
    else:
        draft.note((*at, "version_path"), 'version_path = "..."   # neither the page nor a usual path names a commit')
    named = [(urlsplit(address).hostname or "") + urlsplit(address).path for address in seen.addresses]
    called = sorted(name for key, name in calls.items() if any(f"{one}/".startswith(f"{key}/") for one in named))
    if called != sorted(calls.values()):
        draft.tables["frontends"][at[1]]["calls"] = called
        draft.note((*at, "calls"), "the services whose addresses its scripts name")


def _repository(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    """The repository that has the running commit, as a branch or a tag."""
    commit = _running(whole, place)
    if not whole.heads:
        return
    known = {h.repository: {*h.branches.values(), *h.tags.values()} for h in whole.heads}
    holding = [name for name, heads in known.items() if commit and any(h.startswith(commit) for h in heads)]
    if len(holding) == 1:
        draft.put((*at, "repository"), holding[0])
    else:
        seen = f"no branch or tag is at {commit}, which runs" if commit else "nothing names the commit that runs"
        seen = f"{_few(holding)} are all at {commit}" if holding else seen
        draft.note((*at, "repository"), f'repository = "..."   # {seen}')


def _series(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    """The form of the tags of a part's releases: it runs the commit of a tag that has its name, or of `v1.2.3`, and of
    no branch. An image whose tag is like one of git tells its series by itself.
    """
    commit = _running(whole, place)
    if not commit or _released(whole, place):
        return
    if any(head.startswith(commit) for heads in whole.heads for head in heads.branches.values()):
        return
    tags = [tag for heads in whole.heads for tag, at_ in heads.tags.items() if at_.startswith(commit)]
    named = [tag for tag in tags if re.search(rf"(?<![a-z0-9]){re.escape(at[1])}[^a-z0-9]+v?\d", tag)]
    found = named or [tag for tag in tags if re.fullmatch(r"v?\d+(\.\d+)*", tag)]
    if len(found) == 1:
        begin = found[0].index(at[1]) + len(at[1]) if named else 0
        form = escaped(found[0][:begin]) + re.sub(r"\d+", lambda _: r"(\d+)", escaped(found[0][begin:]))
        draft.put((*at, "release_tag"), form, f"it runs the commit of the tag {found[0]}")


def _running(whole: Whole, place: Place) -> str | None:
    """The commit that serves a place: of its image's tag, or of its own answers."""
    if place.service and (found := _COMMIT.search(place.service.container.image.partition("@")[0])):
        return found[0]
    if released := _released(whole, place):
        return released.commit
    seen = whole.seen.get(place.key)
    return next((commit for _, commit in seen.revisions.values()), None) if seen else None


def _url(whole: Whole, place: Place) -> str:
    """The URL of a service: that of its socket, where it has one."""
    if place.url.startswith("ws") or place.prefix:
        return place.url
    found = _socket_address(whole, place)
    if found:
        return found
    if path := whole.sockets.get(place.host):
        return place.origin.replace("http", "ws", 1) + path
    return place.url


def _is_socket(whole: Whole, place: Place) -> bool:
    return _url(whole, place).startswith("ws")


def _socket_address(whole: Whole, place: Place) -> str | None:
    """The address of a socket that the scripts of a page name, unless they call the host with HTTP too."""
    every = {address for seen in whole.seen.values() for address in seen.addresses}
    of_host = sorted(address for address in every if urlsplit(address).hostname == place.host)
    plain = [address for address in of_host if address.startswith("http")]
    return next((address for address in of_host if address.startswith("ws")), None) if not plain else None


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


def _data_tier(draft: Draft, account: Account) -> None:
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
            draft.note((part, "secret"), f"also fitting: {_few(found.others)}")
        if found.field:
            draft.put((part, "fields"), {"url": found.field})
        elif part == "database":
            draft.note((part, "fields"), 'fields = { url = "DATABASE_URL" }   # if it holds a URL under such a name')
        if first is not None:
            draft.put((part, key), first.name)
            _network(draft, account, part, first)
            if others := [store.name for store in stores[part][1:]]:
                draft.note((part, key), f"also seen: {_few(others)}")
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
        draft.note((part, "ingress_from"), f"open to addresses too, which its check refuses: {_few(strangers)}")


def _alarms(draft: Draft, account: Account) -> None:
    prefix = _common([alarm.name for alarm in account.alarms])
    if not account.alarms:
        return
    if not prefix:
        draft.note((), f"not described: the alarms {_few([a.name for a in account.alarms])}: no common beginning")
        return
    draft.put(("alarms", "prefix"), prefix)
    draft.put(("alarms", "topics"), sorted({topic for alarm in account.alarms for topic in alarm.topics}))
    metrics = sorted({metric for alarm in account.alarms for metric in alarm.metrics})
    draft.put(("alarms", "metrics"), metrics, "those that have an alarm now")
    draft.put(("alarms", "dashboards"), account.dashboards)


def _missing(draft: Draft) -> None:
    parts = ("aws", "dns", "load_balancer", "services", "frontends", "database", "cache", "broker", "logs", "alarms")
    missing = [part for part in (*parts, "git", "github") if part not in draft.tables]
    if missing:
        text = f"not seen: {', '.join(missing)}. Describe each, or say that there is none: [ENV.PART] absent"
        draft.note((), f'{text} = "why"')


def _names(whole: Whole) -> dict[str, str]:
    """`Place.key` to the name of its service or frontend, each once."""
    services = _short([p.service.ecs.name for p in whole.places if p.service])
    buckets = _short([p.site.name for p in whole.places if p.site and not p.prefix])
    found: dict[str, str] = {}
    for place in whole.places:
        if place.service:
            name = services.get(place.service.ecs.name) or place.service.container.name
        elif place.site and not place.prefix:
            name = buckets.get(place.site.name) or place.site.name
        else:
            name = place.prefix.strip("/").replace("/", "-") or place.host.partition(".")[0]
        name = whole.named.get(place.url.rstrip("/") if place.prefix else place.host, name)
        found[place.key] = name if name not in found.values() else place.key.replace("/", "-")
    return found


def _short(names: Sequence[str]) -> dict[str, str]:
    """Names without what all of them begin and end with; nothing for one name alone."""
    if len({*names}) < 2:
        return {}
    begin, end = _common(names), _common([name[::-1] for name in names])[::-1]
    short = {name: name.removeprefix(begin).removesuffix(end) for name in names}
    return short if all(short.values()) else {}


def _common(names: Sequence[str]) -> str:
    """What all names begin with, up to a separator."""
    first, last = min(names, default=""), max(names, default="")
    same = next((n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    begin = first[:same]
    return re.sub(r"[^-_/.]*$", "", begin)


def _shortened(commit: str) -> str:
    return f"{{commit:.{len(commit)}}}"


def _few(names: Iterable[str]) -> str:
    every = [*names]
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(every[:_MOST_NAMES]) + more
