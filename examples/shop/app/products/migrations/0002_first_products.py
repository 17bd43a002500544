# ruff: noqa: RUF012 - the shape that Django generates

from django.db import migrations

FIRST = {"cup": "A cup", "pot": "A pot"}


def add(apps, schema_editor):
    product = apps.get_model("products", "Product")
    product.objects.bulk_create(product(sku=sku, name=name) for sku, name in FIRST.items())


class Migration(migrations.Migration):
    dependencies = [("products", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
