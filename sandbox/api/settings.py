"""Django's settings for GLI's API, as in production: DEBUG off, secure cookies, HSTS, sessions in Redis."""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    options: dict[str, Any] = {"connect_timeout": 2} | dict(parse_qsl(parts.query))
    if options.get("sslmode", "").startswith("verify"):
        options["sslrootcert"] = CA_FILE
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


ENVIRONMENT = os.environ["ENVIRONMENT"]
SERVICE = os.environ["SERVICE"]
REVISION = os.environ["REVISION"]
HEALTH_TOKEN = os.environ["HEALTH_TOKEN"]
REDIS_URL = os.environ["REDIS_URL"]
AMQP_URL = os.environ["AMQP_URL"]
CA_FILE = os.environ["CA_FILE"]
CORS_ORIGINS = frozenset(os.environ["CORS_ORIGINS"].split())

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split()
ROOT_URLCONF = "sandbox.api.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "sandbox.api.notices"]
sys.path.append(os.environ["CODE"])
MIGRATION_MODULES = {"notices": "notices.migrations"}  # those of the deployed revision, not of this copy
MIDDLEWARE = [
    "sandbox.api.breakage.break_on_purpose",
    "sandbox.api.middleware.name_the_build",
    "django.middleware.security.SecurityMiddleware",
    "sandbox.api.middleware.allow_the_frontends",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": _database(os.environ["DATABASE_URL"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"ssl_ca_certs": CA_FILE} if REDIS_URL.startswith("rediss:") else {},
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 31536000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
USE_TZ = True
TIME_ZONE = "UTC"
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 20,
}
