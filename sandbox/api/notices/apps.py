"""Django's name for this application."""

from __future__ import annotations

from django.apps import AppConfig


class NoticesConfig(AppConfig):
    """The app label is `notices`, whatever package holds it."""

    name = "sandbox.api.notices"
    label = "notices"
