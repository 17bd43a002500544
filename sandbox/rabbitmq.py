"""RabbitMQ: Debian's `rabbitmq-server` as a private node, if it is installed."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import urllib.request
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pika
import pika.exceptions

from sandbox.processes import LOOPBACK, Child, PartFailed, ReservedPort, run
from sandbox.site import Login, Site, required

ABSENT = "rabbitmq-server is not installed; install it with `apt-get install rabbitmq-server`"
# Debian's commands in the PATH switch to the user rabbitmq; the scripts that they call run as the current user.
_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
_NODE = "gli@localhost"
_AGAIN_S = 0.5
_LOOKS_S = 0.1
_SETTLES_S = 10.0


class RabbitMQ:
    """A broker on its own port, with workers: one consumer on each work queue, which takes every message.

    The broker starts slower than all other parts.
    """

    def __init__(self, folder: Path, site: Site) -> None:
        broker = required(site.environment.broker)
        self._folder = folder
        self._site = site
        self.queues = broker.queues
        self.dead_letter_queues = broker.dead_letter_queues
        self._admin = Login.named("admin")
        self._reserved = [ReservedPort() for _ in range(4)]
        self.port, self._dist_port, self._epmd_port, self._management_port = (r.port for r in self._reserved)
        self._children: list[Child] = []
        self.ready = asyncio.Event()
        self._left = threading.Event()
        self._working = threading.Event()

    @staticmethod
    def installed() -> bool:
        """Whether this machine has RabbitMQ."""
        return (
            (_SCRIPTS / "rabbitmq-server").exists()
            and shutil.which("erl") is not None
            and shutil.which("epmd") is not None
        )

    @property
    def url(self) -> str:
        """The administrator's URL."""
        return self._url(self._admin, self.port)

    def application_url(self, port: int) -> str:
        """The application's URL, through a relay."""
        return self._url(self._site.credentials.amqp, port)

    def _url(self, login: Login, port: int) -> str:
        return f"amqp://{login.username}:{quote(login.password)}@{LOOPBACK}:{port}/{self._site.vhost}"

    async def start(self) -> None:
        """Start the node and its workers with low CPU priority: the other parts go first."""
        self._folder.mkdir(mode=0o700)
        self._write("definitions.json", json.dumps(self._definitions()))
        self._write("enabled_plugins", "[rabbitmq_management].\n")
        self._write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}\nload_definitions = {self._folder}/definitions.json\n"
            f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {self._management_port}\n"
            "collect_statistics_interval = 1000\n",
        )
        # Start epmd as our own child: an epmd that the node starts would outlive the sandbox.
        await self._start("epmd", ["epmd", "-port", str(self._epmd_port), "-address", LOOPBACK])
        # The schedulers must not busy-wait: the other parts need the cores.
        quiet = ["-noinput", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
        node = await self._start("rabbitmq", [_SCRIPTS / "rabbitmq-server", *quiet])
        await node.until_it_listens(self.port)
        self._loop = asyncio.get_running_loop()
        self._start_workers()

    async def until_ready(self) -> None:
        """Wait until the workers take messages. Raises `PartFailed` if the node ends, or after three minutes."""
        if not self._children:
            raise PartFailed("the broker did not start")
        await self._children[-1].until(self.ready.is_set, "its workers to take messages")

    async def _start(self, name: str, argv: list[str | Path]) -> Child:
        argv = ["nice", "-n", "15", *argv]
        child = await Child.start(name, argv, log=self._folder / f"{name}.log", env=self._environment())
        self._children.append(child)
        return child

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.touch(0o600)
        path.write_text(text)

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self._folder),  # the Erlang cookie lies here
            "RABBITMQ_ALLOW_INPUT": "1",  # makes the script exec the node instead of waiting for it
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._folder / "generated"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "ERL_CRASH_DUMP": str(self._folder / "crash"),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
        }

    def _definitions(self) -> dict[str, object]:
        vhost = self._site.vhost
        app, verify = self._site.credentials.amqp, self._site.credentials.verify_amqp
        users = [(self._admin, "administrator", ".*"), (app, "", ".*"), (verify, "monitoring", "^$")]
        return {
            "users": [{"name": u.username, "password": u.password, "tags": tags} for u, tags, _ in users],
            "vhosts": [{"name": vhost}],
            "permissions": [
                {"user": user.username, "vhost": vhost, "configure": may, "write": may, "read": may}
                for user, _, may in users
            ],
            "queues": [
                {"name": queue, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
                for queue in (*self.queues, *self.dead_letter_queues)
            ],
        }

    def consume(self) -> None:
        """Start the workers and wait for them. Raises TimeoutError if they don't start."""
        self._start_workers()
        if not self._working.wait(_SETTLES_S):
            raise TimeoutError(f"the workers did not take up the queues in {_SETTLES_S:g} s")

    def _start_workers(self) -> None:
        self._left.clear()
        self._working.clear()
        self._workers = threading.Thread(target=self._work, daemon=True)
        self._workers.start()

    def _work(self) -> None:
        while not self._left.is_set():  # a worker that loses its connection connects again
            with suppress(pika.exceptions.AMQPError, OSError):
                self._work_until_told()
            self._left.wait(_AGAIN_S)

    def _work_until_told(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self.application_url(self.port))) as connection:
            channel = connection.channel()
            for queue in self.queues:
                channel.basic_consume(queue, lambda *_: None, auto_ack=True)
            self._working.set()
            self._loop.call_soon_threadsafe(self.ready.set)
            # The flag is read between messages: a worker that is still connecting would miss a call to stop.
            while not self._left.is_set():
                connection.process_data_events(time_limit=_LOOKS_S)

    def leave_the_queues(self) -> None:
        """Stop the workers, so messages stay in the queues. Raises TimeoutError if they don't stop."""
        self._left.set()
        self._workers.join(timeout=_SETTLES_S)
        if self._workers.is_alive():
            raise TimeoutError(f"the workers did not leave the queues in {_SETTLES_S:g} s")

    async def change_password(self, password: str) -> None:
        """Change the password of the application's user; open sessions stay open."""
        user = self._site.credentials.amqp.username
        command: list[str | Path] = [_SCRIPTS / "rabbitmqctl", "--node", _NODE, "change_password", user, password]
        log = self._folder / "rabbitmqctl.log"
        await run(command, name="rabbitmqctl", log=log, env=self._environment())

    async def limit_memory(self, limit: str) -> None:
        """Set the memory above which the broker blocks publishers: a fraction, or bytes after `absolute`."""
        command: list[str | Path] = [_SCRIPTS / "rabbitmqctl", "--node", _NODE, "set_vm_memory_high_watermark"]
        log = self._folder / "rabbitmqctl.log"
        await run([*command, *limit.split()], name="rabbitmqctl", log=log, env=self._environment())

    def measured(self) -> dict[str, float]:
        """What Amazon MQ would send to CloudWatch now, by metric; empty until the node has measured itself.

        Blocking; raises `OSError` if the node is down.
        """
        nodes, queues = self._managed("nodes"), self._managed("queues")
        if not all(node.get("mem_limit") for node in nodes):
            return {}
        return {
            "RabbitMQMemUsed": sum(n["mem_used"] for n in nodes),
            "RabbitMQMemLimit": sum(n["mem_limit"] for n in nodes),
            "RabbitMQDiskFree": sum(n["disk_free"] for n in nodes),
            "RabbitMQDiskFreeLimit": sum(n["disk_free_limit"] for n in nodes),
            "MessageUnacknowledgedCount": sum(q.get("messages_unacknowledged", 0.0) for q in queues),
        }

    def _managed(self, what: str) -> list[dict[str, float]]:
        login = f"{self._admin.username}:{self._admin.password}".encode()
        headers = {"Authorization": f"Basic {b64encode(login).decode()}"}
        url = f"http://{LOOPBACK}:{self._management_port}/api/{what}?disable_stats=false"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            found: list[dict[str, float]] = json.loads(answer.read())
            return found

    async def stop(self) -> None:
        """End the node, then its epmd."""
        self._left.set()
        for child in reversed(self._children):
            await child.stop()
        for reserved in self._reserved:
            reserved.close()
