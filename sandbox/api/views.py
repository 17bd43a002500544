"""Health, version, status, session, and the one endpoint that needs a login."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from itertools import count
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.middleware.csrf import get_token
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandbox.api import breakage, dependencies

_asked = count()


def health(request: HttpRequest) -> JsonResponse:
    """Answer the load balancer that this task runs. No dependency is asked: a slow database must not end all tasks."""
    breakage.fail_if("health-fails")
    if next(_asked) % 5 == 4:
        breakage.fail_if("health-is-flaky")
    return JsonResponse({"status": "ok"})


def deep_health(request: HttpRequest) -> JsonResponse:
    """Answer the suite whether this task reaches its dependencies. Needs a token, because it costs connections."""
    breakage.fail_if("health-fails")
    token = request.headers.get("X-Health-Token", "")
    if not secrets.compare_digest(token.encode(), settings.HEALTH_TOKEN.encode()):
        return JsonResponse({"detail": "X-Health-Token is missing or wrong"}, status=403)
    states = dependencies.ask()
    return JsonResponse(states, status=200 if dependencies.all_well(states) else 503)


def version(request: HttpRequest) -> JsonResponse:
    """The commit that this task runs."""
    return JsonResponse(
        {"revision": settings.REVISION, "service": settings.SERVICE, "environment": settings.ENVIRONMENT}
    )


def status(request: HttpRequest) -> JsonResponse:
    """The name of the service and the time."""
    breakage.fail_if("status-fails")
    return JsonResponse({"service": settings.SERVICE, "time": datetime.now(UTC).isoformat()})


def session(request: HttpRequest) -> JsonResponse:
    """Start a session and set the CSRF token, which a frontend requests before its first form."""
    request.session.set_expiry(60)
    request.session["asked"] = True
    return JsonResponse({"csrf_token": get_token(request)})


class Me(APIView):
    """The caller's own account."""

    def get_permissions(self) -> list[Any]:
        return [AllowAny() if breakage.has("me-is-open") else IsAuthenticated()]

    def get(self, request: Request) -> Response:
        return Response({"username": request.user.get_username()})
