"""Clients of the seeded account with an administrator's rights."""

from __future__ import annotations

import threading
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
from botocore.config import Config

_CONFIG = Config(
    retries={"max_attempts": 0},  # moto answers 500 to calls that it does not implement: a retry can't help
    max_pool_connections=8,
    parameter_validation=False,
    disable_request_compression=True,
    connect_timeout=5,
    read_timeout=30,
    s3={"addressing_style": "path"},
)
EDGE_REGION = "us-east-1"
"""Where CloudFront takes its certificates and metrics from."""


class Account:
    """Clients by service and region, each made once. moto accepts any key as the administrator's."""

    def __init__(self, endpoint: str, region: str) -> None:
        self.endpoint, self.region = endpoint, region
        self._session = boto3.Session("sandbox", "sandbox", region_name=region)
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str, region: str | None = None) -> Any:
        """The client of one service."""
        key = (service, region or self.region)
        with self._lock:  # creating clients is not thread-safe, using them is
            if key not in self._clients:
                self._clients[key] = self._session.client(
                    service, region_name=key[1], endpoint_url=self.endpoint, config=_CONFIG
                )
            return self._clients[key]


def answers(endpoint: str) -> bool:
    """Whether the server at this endpoint answers."""
    try:
        with urlopen(f"{endpoint}/moto-api/", timeout=5):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False
