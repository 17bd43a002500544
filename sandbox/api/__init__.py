"""GLI's API: a small Django + DRF application under waitress (`python -m sandbox.api`), one process per task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing the site at run time would slow down each task, which uses this package too
    from sandbox.site import Site


def task_environment(
    site: Site,
    *,
    port: int,
    revision: str,
    database_url: str,
    redis_url: str,
    amqp_url: str | None,
    ca_file: Path,
    breakage_file: Path,
    code: Path,
) -> dict[str, str]:
    """The environment variables of one task, on top of PATH and the like.

    The URLs are `postgresql://`, `redis(s)://` and `amqp(s)://`; TLS ones are verified against `ca_file` (PostgreSQL's
    with `?sslmode=verify-full`). `breakage_file` (state_dir/api-breakage, may be missing) lists the active mistakes,
    one per line. The API reads it on every request, so a fault needs no restart. `code` is the repository's working
    tree at that revision; the task takes its migrations from there.
    """
    api = site.environment.services["api"]
    return {
        "DJANGO_SETTINGS_MODULE": "sandbox.api.settings",
        "PORT": str(port),
        "ENVIRONMENT": site.environment.name,
        "SERVICE": api.image or api.name,
        "REVISION": revision,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AMQP_URL": amqp_url or "",
        "CA_FILE": str(ca_file),
        "HEALTH_TOKEN": site.credentials.health_token,
        "SECRET_KEY": site.credentials.secret_key,
        "ALLOWED_HOSTS": " ".join(s.host for s in site.environment.services.values() if not s.websocket),
        "CORS_ORIGINS": " ".join(f.url for f in site.environment.frontends.values()),
        "BREAKAGE_FILE": str(breakage_file),
        "CODE": str(code),
    }
