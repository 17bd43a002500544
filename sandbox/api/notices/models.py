"""Notices to GLI's users."""

from __future__ import annotations

from django.db import models


class Topic(models.Model):
    """What notices are about; a topic may be a part of another one."""

    name = models.CharField(max_length=80, unique=True)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE)


class Notice(models.Model):
    """One line of text that the frontends show."""

    title = models.CharField(max_length=200)
    published = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-published",)
