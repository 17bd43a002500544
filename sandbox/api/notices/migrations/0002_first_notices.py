# ruff: noqa: RUF012 - the shape that Django generates

from datetime import UTC, datetime
from typing import Any

from django.db import migrations


def add_notices(apps: Any, schema_editor: Any) -> None:
    notices = apps.get_model("notices", "Notice").objects
    notices.create(title="Welcome to GLI", published=datetime(2026, 1, 5, tzinfo=UTC))
    notices.create(title="Maintenance on Sunday", published=datetime(2026, 2, 1, tzinfo=UTC))


class Migration(migrations.Migration):
    dependencies = [("notices", "0001_initial")]

    operations = [migrations.RunPython(add_notices, migrations.RunPython.noop)]
