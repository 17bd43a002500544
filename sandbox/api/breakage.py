"""Mistakes that the sandbox's faults switch on in this application; a release could ship each of them.

The file named by `BREAKAGE_FILE` lists the active mistakes, one per line; so does the file `breakage` of the revision's
own code, for a release that was built with them. Both are read on every request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse
from django.views.debug import technical_404_response

Handler = Callable[[HttpRequest], HttpResponse]
_files = (Path(os.environ.get("BREAKAGE_FILE", os.devnull)), Path(os.environ.get("CODE", "")) / "breakage")


def has(name: str) -> bool:
    """Whether this mistake is active now."""
    found = ""
    for file in _files:
        with suppress(FileNotFoundError):
            found += file.read_text(encoding="utf-8")
    return name in found.split()


def fail_if(name: str) -> None:
    """Raise an exception that nobody catches if this mistake is active."""
    if has(name):
        raise RuntimeError(f"{name}, as a fault of the sandbox asked for")


def break_on_purpose(get_response: Handler) -> Handler:
    """The outermost middleware: changes the healthy application's answer as the active mistakes would."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if has("notices-lose-a-key") and request.method == "GET" and request.path == "/api/v1/notices/":
            body = json.loads(response.content)
            body.pop("count", None)
            _say(response, json.dumps(body).encode())
        if has("debug-is-on") and response.status_code == HTTPStatus.NOT_FOUND:
            _say(response, technical_404_response(request, Http404()).content)
        for cookie in response.cookies.values():
            if has("cookies-are-insecure"):
                cookie["secure"] = cookie["httponly"] = ""
            if has("cookies-cross-sites"):
                cookie["samesite"] = "None"
            if has("cookies-reach-production"):
                cookie["domain"] = request.get_host().partition(".")[2]
        if has("balancer-adds-its-cookies"):  # as a load balancer with sticky sessions does: this is not a mistake
            for name in ("AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS"):
                response.set_cookie(name, "where-this-session-lives", max_age=60, path="/")
        if has("answers-in-another-spelling"):  # this is not a mistake either
            _spell_otherwise(request, response)
        if has("session-is-public") and request.path == "/api/v1/session/":
            response["Cache-Control"] = "public, max-age=600"
        if has("cors-without-credentials"):
            del response["Access-Control-Allow-Credentials"]
        if has("hsts-is-missing"):
            del response["Strict-Transport-Security"]
        return response

    return middleware


def _spell_otherwise(request: HttpRequest, response: HttpResponse) -> None:
    """Say the same in other words that mean the same to browsers."""
    response["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains; preload"
    response["X-Content-Type-Options"] = "NoSniff"
    response["Referrer-Policy"] = "no-referrer, strict-origin-when-cross-origin"
    response["Content-Type"] = f"{response['Content-Type'].partition(';')[0]}; charset=utf-8"
    if request.method == "OPTIONS" and response.status_code == HTTPStatus.NO_CONTENT:
        response.status_code = HTTPStatus.OK
        for name in ("Access-Control-Allow-Headers", "Access-Control-Allow-Methods"):
            if name in response:
                response[name] = ",".join(reversed(response[name].split(", "))).title()
    for cookie in response.cookies.values():
        cookie["samesite"] = "Strict"
        response["Cache-Control"] = "private, max-age=0, must-revalidate"


def _say(response: HttpResponse, body: bytes) -> None:
    response.content = body
    response["Content-Length"] = str(len(body))
