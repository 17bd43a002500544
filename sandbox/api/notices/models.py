"""Notices to GLI's users."""

from __future__ import annotations

from django.db import models


class Notice(models.Model):
    """One line of text that the frontends show."""

    title = models.CharField(max_length=200)
    published = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-published",)
