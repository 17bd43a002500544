"""Headers of every answer: the build, and which origins may read the answer."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from sandbox.api import breakage

Handler = Callable[[HttpRequest], HttpResponse]
_METHODS = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"
_HEADERS = "authorization, content-type"


def name_the_build(get_response: Handler) -> Handler:
    """`X-Build-Sha`: the commit that this task was built from."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["X-Build-Sha"] = settings.REVISION
        return response

    return middleware


def allow_the_frontends(get_response: Handler) -> Handler:
    """Allow CORS for the frontends of this environment only. A preflight never reaches a view."""

    def middleware(request: HttpRequest) -> HttpResponse:
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response = HttpResponse(status=204) if preflight else get_response(request)
        patch_vary_headers(response, ["Origin"])
        origin = request.headers.get("Origin")
        if origin and _may_read(origin):
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Allow-Credentials"] = "true"
            if preflight:
                response["Access-Control-Allow-Methods"] = _METHODS
                response["Access-Control-Allow-Headers"] = _HEADERS
                response["Access-Control-Max-Age"] = "600"
        return response

    return middleware


def _may_read(origin: str) -> bool:
    if breakage.has("cors-forgets-the-frontends"):
        return False
    if breakage.has("cors-matches-a-part") and any(origin.startswith(own) for own in settings.CORS_ORIGINS):
        return True
    if breakage.has("cors-allows-null") and origin == "null":
        return True
    return origin in settings.CORS_ORIGINS or breakage.has("cors-reflects-any-origin")
