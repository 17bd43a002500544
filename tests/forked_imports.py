"""What every run imports, and the caches that every run fills: `forked` imports this once, for all of its forks."""

import gc
import importlib
import pkgutil

from _pytest.config import default_plugins

import gli
from gli.common import sources

LIBRARIES = (
    *("pytest", *(f"_pytest.{plugin}" for plugin in default_plugins)),
    *("execnet", "xdist.dsession", "xdist.looponfail", "xdist.newhooks", "xdist.plugin", "xdist.workermanage"),
    *("anyio.pytest_plugin", "anyio._backends._asyncio"),
    *("boto3", "dns.resolver", "httpx", "pika", "psycopg", "redis.asyncio", "websockets.asyncio.client"),
)

sources.compile_from_source()  # first, as in every run
for _name in (*LIBRARIES, *(module.name for module in pkgutil.walk_packages(gli.__path__, "gli."))):
    importlib.import_module(_name)

from gli.observe.engine.aws_models import loader  # noqa: E402 - compiled from source, like the others
from gli.observe.engine.guard import AWS_READS  # noqa: E402
from gli.report import web  # noqa: E402

for _service in AWS_READS:
    loader().load_service_model(_service, "service-2")
web.prepare()
gc.freeze()  # a collection in a fork would copy the memory of everything above
