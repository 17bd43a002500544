"""The routes of GLI's API."""

from __future__ import annotations

from django.urls import path

from sandbox.api import views
from sandbox.api.notices.views import Notices

urlpatterns = [
    path("health/", views.health),
    path("health/deep", views.deep_health),
    path("version", views.version),
    path("api/v1/notices/", Notices.as_view()),
    path("api/v1/status/", views.status),
    path("api/v1/session/", views.session),
    path("api/v1/me/", views.Me.as_view()),
]
