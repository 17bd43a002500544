"""Runs a cell as a task of ECS on Fargate, through the caller's own credentials; its reports come back through S3.

Source of truth: ecs RunTask, DescribeTasks, StopTask; s3 GetObject, and PutObject in a URL for one object. Whoever
starts a round may do this; a verification's own role may neither start a task nor write to S3.
"""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gli.cells import task
from gli.cells.merging import Setting
from gli.cells.rounds import CellLost, make_place
from gli.common.verdict_file import write_whole
from gli.config.cells import Cell
from gli.provision.account import Account, ProvisionError

_STARTED_BY = "gli-run"
_URL_S = 12 * 3600  # a run may wait for a rollout
_STOP_S = 45.0
_MOST_BYTES = 64 * 1024 * 1024
_NAME = re.compile(rf"[\w-]+/[0-9]{{8}}T[0-9.]+-[0-9]+/({'|'.join(map(re.escape, task.FILES))})")


class EcsRun:
    """The task of one cell."""

    starting_s = 300.0  # a network interface and an image come first
    tick_s = 3.0

    def __init__(self, setting: Setting, cell: Cell, folder: Path) -> None:
        """Raises `UsageError` if the caller's credentials are not of the cell's account."""
        assert cell.ecs is not None
        self._ecs, self._folder = cell.ecs, folder
        self._account = Account(setting.environment.as_cell(cell.name), cell.ecs.profile)
        self._bucket, _, prefix = cell.ecs.results.removeprefix("s3://").partition("/")
        parts = (prefix.strip("/"), setting.environment.name, folder.parent.parent.name, f"{cell.name}.tar.gz")
        self._key = "/".join(part for part in parts if part)
        self._task = ""

    def start(self, arguments: Sequence[str]) -> None:
        make_place(self._folder)
        url = self._account.upload_url(self._bucket, self._key, seconds=_URL_S)
        override = {
            "name": self._ecs.container,
            "command": ["python", "-m", "gli.cells.task", *arguments],
            "environment": [{"name": task.RESULTS, "value": url}],
        }
        network = {
            "subnets": list(self._ecs.subnets),
            "securityGroups": list(self._ecs.security_groups),
            "assignPublicIp": "ENABLED" if self._ecs.assign_public_ip else "DISABLED",
        }
        answer = self._call(
            "run_task",
            taskDefinition=self._ecs.task_definition,
            launchType="FARGATE",
            count=1,
            startedBy=_STARTED_BY,
            networkConfiguration={"awsvpcConfiguration": network},
            overrides={"containerOverrides": [override]},
        )
        for failure in answer.get("failures", []):
            raise CellLost(f"ECS does not start it: {failure.get('reason')} {failure.get('detail') or ''}".strip())
        self._task = str(answer["tasks"][0]["taskArn"])

    def ended(self) -> str | None:
        found = self._call("describe_tasks", tasks=[self._task])["tasks"]
        if not found:
            raise CellLost("ECS no longer knows its task")
        if found[0]["lastStatus"] != "STOPPED":
            return None
        codes = {c.get("name"): c.get("exitCode") for c in found[0].get("containers", [])}
        return f"ended with {codes.get(self._ecs.container)} ({found[0].get('stoppedReason') or 'no reason given'})"

    def end(self) -> None:
        if not self._task:
            return
        self._call("stop_task", task=self._task, reason="the round of gli run is over")
        until = time.monotonic() + _STOP_S  # the container still writes what it has
        while self.ended() is None and time.monotonic() < until:
            time.sleep(self.tick_s)

    def fetch(self) -> None:
        try:
            answer = self._account.call("s3", "get_object", Bucket=self._bucket, Key=self._key)
        except ProvisionError as e:
            if getattr(e, "code", "") == "NoSuchKey":
                return
            raise CellLost(str(e)) from None
        if answer["ContentLength"] > _MOST_BYTES:
            raise CellLost(f"its results are larger than {_MOST_BYTES} bytes")
        from botocore.exceptions import BotoCoreError

        try:
            self._unpack(answer["Body"].read(_MOST_BYTES))
        except (BotoCoreError, tarfile.TarError, OSError, EOFError, ValueError) as e:
            raise CellLost(f"its results can't be read: {e}") from None

    def _unpack(self, archive: bytes) -> None:
        """Writes the files of runs, and nothing else that the archive may hold."""
        left = _MOST_BYTES
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() and _NAME.fullmatch(member.name) else None
                left -= member.size
                if content is None or left < 0:
                    raise ValueError(f"{member.name} is no file of a run, or too large")
                path = self._folder / member.name
                make_place(path.parent)
                write_whole(path, content.read().decode("utf-8"))

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._account.call("ecs", operation, joined=False, cluster=self._ecs.cluster, **parameters)
        except ProvisionError as e:
            raise CellLost(str(e)) from None
