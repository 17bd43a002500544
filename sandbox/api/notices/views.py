"""The public list of notices."""

from __future__ import annotations

from rest_framework.generics import ListAPIView
from rest_framework.serializers import ModelSerializer

from sandbox.api.notices.models import Notice


class NoticeSerializer(ModelSerializer):
    class Meta:
        model = Notice
        fields = ("id", "title", "published")


class Notices(ListAPIView):
    """`GET /api/v1/notices/`, newest first, in pages."""

    queryset = Notice.objects.all()
    serializer_class = NoticeSerializer
