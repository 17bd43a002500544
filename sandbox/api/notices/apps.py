"""Django's name for this application."""

from __future__ import annotations

from django.apps import AppConfig


class NoticesConfig(AppConfig):
    """`notices`, whatever package it lies in."""

    name = "sandbox.api.notices"
    label = "notices"
