"""The tables of an environment from what was seen of it. Pure: asks nothing.

A key is written only if an answer of AWS, of a URL or of git shows its value. What is likely and not shown is a comment
with what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gli.git.branches import BRANCHES
from gli.observe.discovery.account import Account
from gli.observe.discovery.described_data import put_data_tier
from gli.observe.discovery.described_places import (
    is_frontend,
    main_balancer,
    put_address,
    put_frontend,
    put_repository,
    put_service,
    put_worker,
    running_commit,
    serves_both,
)
from gli.observe.discovery.draft import Draft, few
from gli.observe.discovery.places import Place
from gli.observe.discovery.whole import Whole

_GITHUB = re.compile(r"(?:git@|ssh://git@|https://)github\.com[:/]([\w.-]+)/")
_DEPLOYED = re.compile(r"(?!rollback-|reset-|emergency-|acknowledged-)(\w[\w.]*)-\d{8}-\d{6}")
_LOG_BRANCH = "deployments"
_STAGES = {
    **dict.fromkeys(("dev", "develop", "development"), 0),
    **dict.fromkeys(("stg", "stage", "staging", "test", "release", "uat", "preprod"), 1),
    **dict.fromkeys(("main", "master", "prod", "production", "live"), 2),
}
"""The usual names of branches, by their order on the way to production."""
_USUAL_PORTS = (80, 443)


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
        put_data_tier(draft, whole.account)
        draft.put(("logs", "groups"), whole.account.log_groups)
        _alarms(draft, whole.account)
    _missing(draft)
    return draft


def _environment(draft: Draft, whole: Whole) -> None:
    at: dict[str, int] = {}
    running = {commit for place in whole.places if (commit := running_commit(whole, place))}
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
            draft.note((), f"left out, because no --match fits: {kind} {few(names)}")
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
        draft.put(("git", "branches"), path or names[:1], f"{text}; in every repository: {few(names) or 'none'}")
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
        draft.note(("dns", "zone"), f"zone = ...   # no zone covers every host; the account has {few(zones)}")


def _load_balancer(draft: Draft, account: Account, places: Iterable[Place]) -> None:
    balancer = main_balancer(account, places)
    if balancer is None:
        return
    used = {place.balancer for place in places}
    others = sorted(b.name for b in account.balancers if b is not balancer and b.name not in used)
    draft.put(("load_balancer", "name"), balancer.name, *([f"also seen: {few(others)}"] if others else []))
    draft.put(("load_balancer", "type"), balancer.type if balancer.type != "application" else "")
    tests = [x.port for x in balancer.listeners if x.protocol == "HTTPS" and x.port not in _USUAL_PORTS]
    if len(tests) == 1:
        draft.put(("load_balancer", "test_port"), tests[0], "the listener with HTTPS beside 443")
    groups = [g for g in account.security_groups if g.id in balancer.security_groups]
    some = [o for g in groups for o in g.openings if not o.world and o.first_port not in _USUAL_PORTS]
    if not tests and some:
        text = "test_port = ...   # if one of these shows new tasks before users get them"
        draft.note(("load_balancer", "test_port"), f"{text}: {few(map(str, some))}")
    open_ = sorted({o.first_port for g in groups for o in g.openings if o.world and o.first_port == o.last_port})
    if open_ and tuple(open_) != _USUAL_PORTS:
        draft.put(("load_balancer", "ports_open_to_the_world"), open_, "as they are open now: should they be?")


def _reachable(draft: Draft, whole: Whole) -> None:
    """The services and frontends."""
    names = _names(whole)
    frontends = [place for place in whole.places if is_frontend(whole, place)]
    services = [place for place in whole.places if place not in frontends or serves_both(whole, place)]
    calls = {p.key: names[p.key] for p in services}
    for place in services:
        put_service(draft, whole, place, ("services", names[place.key]))
    for place in whole.places:
        if place.socket:
            name = whole.named.get(place.socket) or f"{names[place.key]}-socket"
            put_address(draft, ("services", name), place.socket)
            put_repository(draft, whole, place, ("services", name))
    for place in frontends:
        name = whole.pages.get(place.url.rstrip("/") if place.prefix else place.host) or names[place.key] + (
            "-page" if place in services else ""
        )
        put_frontend(draft, whole, place, ("frontends", name), calls)
    if whole.account:
        reached = {place.service.ecs.name for place in whole.places if place.service}
        for each in whole.account.services:
            if each.ecs.name in reached:
                continue
            if not each.ecs.every_group:
                put_worker(draft, whole, each)
            else:
                where = f"{each.ecs.cluster}/{each.ecs.name}"
                draft.note((), f"not described: the ECS service {where}: no rule for HTTPS of a load balancer names it")


def _alarms(draft: Draft, account: Account) -> None:
    prefix = _common([alarm.name for alarm in account.alarms])
    if not account.alarms:
        return
    if not prefix:
        draft.note((), f"not described: the alarms {few([a.name for a in account.alarms])}: no common beginning")
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
