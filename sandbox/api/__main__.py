"""`python -m sandbox.api`: migrate, then serve until SIGTERM; with `migrate`, migrate and end.

All settings come from environment variables.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from importlib import import_module


def main() -> None:
    """Run one task of the service. The relay in front terminates TLS, as GLI's load balancer does."""
    gc.disable()  # the objects that imports create are never freed: collecting would take a third of the import time
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from waitress import serve

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sandbox.api.settings")
    django.setup()
    import_module(settings.ROOT_URLCONF)  # import now, not at the first request
    gc.freeze()
    gc.enable()
    call_command("migrate", verbosity=0, interactive=False)
    if sys.argv[1:] == ["migrate"]:
        return
    serve(
        get_wsgi_application(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        url_scheme="https",
        threads=4,
        ident=None,
    )


if __name__ == "__main__":
    main()
