"""What the shop serves."""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import path
from health_check.views import HealthCheckView
from products.models import Product


def products(request: HttpRequest) -> JsonResponse:
    """What there is to buy."""
    found = [{"sku": p.sku, "name": p.name, "currency": "EUR"} for p in Product.objects.order_by("sku")]
    return JsonResponse({"count": len(found), "results": found})


def version(request: HttpRequest) -> JsonResponse:
    """Which commit this is, as short as `git log --abbrev=7` shows it."""
    return JsonResponse({"build": {"commit": settings.REVISION[:7]}})


DEEP = ["health_check.checks.Cache", "health_check.checks.Database", "health_check.checks.Storage"]

urlpatterns = [
    path("api/products/", products),
    path("api/version/", version),
    path("alive/", HealthCheckView.as_view(checks=[])),
    path("ht/", HealthCheckView.as_view(checks=DEEP)),
    path("admin/", admin.site.urls),
]
