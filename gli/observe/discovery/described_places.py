"""The tables of services and frontends: each place that users reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from gli.observe.aws.load_balancer import Balancer
from gli.observe.discovery.account import Account, Deployed
from gli.observe.discovery.draft import Draft, Path, few
from gli.observe.discovery.places import Place
from gli.observe.discovery.web import DEEP_PATHS, HEALTH_PATHS, META, MISSING_PATH, Seen, escaped
from gli.observe.discovery.whole import Whole

_COMMIT = re.compile(r"[0-9a-f]{7,40}$")


def is_frontend(whole: Whole, place: Place) -> bool:
    """Whether a place is a page: its files are in a bucket, or it answers with HTML."""
    if place.service is not None or place.url.startswith("ws"):
        return False
    seen = whole.seen.get(place.key)
    return bool(place.site and place.site.bucket) or bool(seen and seen.page)


def serves_both(whole: Whole, place: Place) -> bool:
    """Whether the host of a page is also that of an API: it answers a path of health in something else than HTML."""
    seen = whole.seen.get(place.key)
    paths = (*([place.health_path] if place.health_path else []), *HEALTH_PATHS, *DEEP_PATHS)
    return bool(
        seen and not (place.site and place.site.bucket) and any(seen.statuses.get(p) == 200 for p in paths if p != "/")
    )


def put_address(draft: Draft, at: Path, url: str) -> None:
    """Puts the URL of a service into its table."""
    draft.put((*at, "url"), url)
    if "{token}" in url:
        where = 'authorization = { bearer = "..." }   # where the token of its URL is, as in env:SOCKET_TOKEN'
        draft.note((*at, "authorization"), where)


def put_service(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    """Puts the table of a service, at the path `at`."""
    seen = whole.seen.get(place.key) or Seen(url=place.origin, error="it was not asked")
    put_address(draft, at, _url(whole, place))
    if place.also:
        draft.note(at, f"also reached as {few(place.also)}")
    put_repository(draft, whole, place, at)
    _series(draft, whole, place, at)
    main = main_balancer(whole.account, whole.places) if whole.account else None
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
        draft.note((*at, "health_path"), f'health_path = "..."   # none of {few(HEALTH_PATHS)} answered 200')
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
        draft.note((*at, "ecs"), f"the task's other containers: {few(place.service.others)}")


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


def put_worker(draft: Draft, whole: Whole, service: Deployed) -> None:
    """Puts the table of a service that no load balancer sends requests to."""
    taken = {*draft.tables.get("services", {}), *draft.tables.get("frontends", {})}
    name = service.container.name if service.container.name not in taken else service.ecs.name
    place, at = Place(url="", service=service), ("services", name)
    put_repository(draft, whole, place, at)
    _series(draft, whole, place, at)
    _deployed(draft, whole, place, at)
    draft.note((*at, "url"), "no load balancer sends it requests: a worker, unless it has a url")


def put_frontend(draft: Draft, whole: Whole, place: Place, at: Path, calls: Mapping[str, str]) -> None:
    """Puts the table of a frontend, at the path `at`; `calls` maps the key of each service's place to its name."""
    seen = whole.seen.get(place.key) or Seen(url=place.origin, error="it was not asked")
    draft.put((*at, "url"), place.url)
    if place.also:
        draft.note(at, f"also reached as {few(place.also)}")
    put_repository(draft, whole, place, at)
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


def put_repository(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    """The repository that has the running commit, as a branch or a tag."""
    commit = running_commit(whole, place)
    if not whole.heads:
        return
    known = {h.repository: {*h.branches.values(), *h.tags.values()} for h in whole.heads}
    holding = [name for name, heads in known.items() if commit and any(h.startswith(commit) for h in heads)]
    if len(holding) == 1:
        draft.put((*at, "repository"), holding[0])
    else:
        seen = f"no branch or tag is at {commit}, which runs" if commit else "nothing names the commit that runs"
        seen = f"{few(holding)} are all at {commit}" if holding else seen
        draft.note((*at, "repository"), f'repository = "..."   # {seen}')


def _series(draft: Draft, whole: Whole, place: Place, at: Path) -> None:
    """The form of the tags of a part's releases: it runs the commit of a tag that has its name, or of `v1.2.3`, and of
    no branch. An image whose tag is like one of git tells its series by itself.
    """
    commit = running_commit(whole, place)
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


def running_commit(whole: Whole, place: Place) -> str | None:
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


def _shortened(commit: str) -> str:
    return f"{{commit:.{len(commit)}}}"


def main_balancer(account: Account, places: Iterable[Place]) -> Balancer | None:
    """The load balancer that most services are behind: of several, an application load balancer first."""
    behind = [place.balancer for place in places if place.balancer]
    order = sorted(account.balancers, key=lambda b: (-behind.count(b.name), b.type, b.name))
    return next(iter(order), None)
