"""The logins of requests: the header Authorization, of an endpoint of the contract or of a whole host; and those in a
message or in the URL of a WebSocket session.

Source of truth: RFC 6750 (bearer), RFC 7617 (basic).
"""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, urlsplit

from gli.config.services import Authorization, Service, SignIn, Step, origin_of
from gli.observe.data.secrets import secret
from gli.observe.engine.probe import Observer


async def authorization(observer: Observer, who: Authorization | None) -> dict[str, str]:
    """The header of a login. Raises `Unobserved` if the credential can't be had."""
    if who is None:
        return {}
    known = await _fields(observer, who)
    if who.bearer:
        value = f"Bearer {known['token']}"
    else:
        pair = f"{known['username']}:{known['password']}"
        value = f"Basic {base64.b64encode(pair.encode()).decode()}"
    observer.vault.hide(value.partition(" ")[2])
    return {"Authorization": value}


async def message(observer: Observer, step: Step) -> str:
    """What a step of a conversation sends, with the login in it. Raises `Unobserved` if the credential can't be had."""
    text = step.send
    for field, value in (await _fields(observer, step.authorization) if step.authorization else {}).items():
        in_json = '"' in step.send
        text = text.replace(f"{{{field}}}", json.dumps(value)[1:-1] if in_json else value)
    return text


async def signed_url(observer: Observer, service: Service, url: str) -> str:
    """The URL with the login in it, where the service's URL takes one. Raises `Unobserved` if the credential can't be
    had.
    """
    if service.authorization and service.signs_in_by_url:
        for field, value in (await _fields(observer, service.authorization)).items():
            url = url.replace(f"{{{field}}}", quote(value, safe=""))
    return url


async def _fields(observer: Observer, who: Authorization) -> dict[str, str]:
    """The fields of a login, by their names in `Authorization.fields`."""
    await observer.see(secret, who.source)
    document = observer.vault.document(who.source)
    known = {name: document.get(who.names.get(name, name), "") for name in who.wanted}
    if who.basic and document.get("token"):  # a text `user:password`
        known["username"], _, known["password"] = document["token"].partition(":")
    return known


async def sign_in(observer: Observer, url: str) -> dict[str, str]:
    """The header of the login that the host of a URL asks of everybody; none where it asks for none."""
    if not observer.environment.sign_ins:
        return {}
    asked = observer.environment.sign_ins.get(origin_of(url), ())
    return await authorization(observer, next((one for one in asked if _is_of(one, url)), None))


def _is_of(asked: SignIn, url: str) -> bool:
    return not asked.only_paths or (urlsplit(url).path or "/") in asked.only_paths


async def page_sign_ins(observer: Observer) -> dict[str, str]:
    """Origin to the value of the header for all of its paths, for the browser."""
    found = {}
    for origin, asked in observer.environment.sign_ins.items():
        for one in asked:
            if not one.only_paths:
                found[origin] = (await authorization(observer, one))["Authorization"]
    return found
