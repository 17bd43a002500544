"""The WSGI application of the moto process: moto, and `/_sandbox/<action>` for states that the AWS API can't set."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from sandbox.aws import patches, surgery
from sandbox.aws.front import FRONT

SERVICES = (
    "ec2",
    "ecs",
    "acm",
    "applicationautoscaling",
    "cloudfront",
    "cloudwatch",
    "ecr",
    "elasticache",
    "elbv2",
    "iam",
    "logs",
    "mq",
    "rds",
    "route53",
    "s3",
    "secretsmanager",
    "sns",
    "sts",
)
_ROUTE = "/_sandbox/"


class _Handler(MotoRequestHandler):  # type: ignore[misc]
    """Keeps connections open, as AWS does, and sends without Nagle's delay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True


class Application:
    """Serves one request at a time: moto's backends are plain dictionaries, and threads gain nothing here."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._turn = threading.Lock()
        for service in SERVICES:
            self._moto.app_instances[service] = create_backend_app(service)
        patches.apply()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:  # read the body first, so that a slow sender does not block the others
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with self._turn:
            if environ["PATH_INFO"].startswith(_ROUTE):
                return _act(environ, start_response)
            if (refusal := FRONT.meet(environ)) is not None:
                return _answer(start_response, *refusal)
            return list(self._moto(environ, start_response))


def serve(application: Application, port: int) -> None:
    """Listen on loopback until the process ends."""
    make_server("127.0.0.1", port, application, threaded=True, request_handler=_Handler).serve_forever()


def _act(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    name = environ["PATH_INFO"].removeprefix(_ROUTE)
    action = surgery.ACTIONS.get(name)
    status = HTTPStatus.OK
    if action is None:
        status, answer = HTTPStatus.NOT_FOUND, {"error": f"no such action: {name}"}
    else:
        try:
            answer = action(**json.loads(environ["wsgi.input"].read() or b"{}"))
        except (KeyError, TypeError, LookupError) as e:
            status, answer = HTTPStatus.BAD_REQUEST, {"error": f"{name}: {e!r}"}
    return _answer(start_response, status, "application/json", json.dumps(answer).encode())


def _answer(start_response: Any, status: int, kind: str, body: bytes) -> Iterable[bytes]:
    line = f"{status:d} {HTTPStatus(status).phrase}"
    start_response(line, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
