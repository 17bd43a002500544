"""GitHub's REST API as far as a release asks it: the runs of a repository's workflows for one commit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sandbox import workflows
from sandbox.processes import LOOPBACK
from sandbox.relay import SUITE_HEADER
from sandbox.site import Revisions

_MAX_HEADERS = 16 * 1024
Run = dict[str, Any]


class GitHub:
    """Answers `GET /repos/OWNER/NAME/actions/runs`. The runs are what faults change at run time."""

    def __init__(self, owner: str) -> None:
        self.runs: dict[str, list[Run]] = {}
        """The runs of each repository, oldest first, as GitHub describes them."""
        self.url = ""
        """Where it listens."""
        self.requests = 0
        """Requests of the suite."""
        self._owner = owner
        self._server: asyncio.Server | None = None

    def deployed(self, revisions: Revisions, branches: Sequence[str]) -> None:
        """Every repository that has a workflow was deployed from the head of these branches."""
        for branch in branches:
            for repository, commit in revisions[branch].items():
                if workflows.of(repository):
                    self.run(repository, branch, commit)

    def run(self, repository: str, branch: str, commit: str, conclusion: str = "success") -> Run:
        """One more run of a repository's deploy workflow, which has ended."""
        runs = self.runs.setdefault(repository, [])
        url = f"https://github.com/{self._owner}/{repository}/actions/runs/{len(runs) + 1}"
        runs.append(
            {
                "id": len(runs) + 1,
                "run_number": len(runs) + 1,
                "run_attempt": 1,
                "path": workflows.FILE,
                "event": "push",
                "head_branch": branch,
                "head_sha": commit,
                "status": "completed",
                "conclusion": conclusion,
                "html_url": url,
            }
        )
        return runs[-1]

    async def start(self) -> None:
        """Listen, on a port that the system chooses."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, limit=_MAX_HEADERS)
        self.url = f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            async with asyncio.timeout(10):
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests += request.count(SUITE_HEADER.decode())
            status, document = self._answer(request.split(" ", 2)[1])
            body = json.dumps(document).encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    def _answer(self, target: str) -> tuple[str, dict[str, Any]]:
        url = urlsplit(target)
        _, repos, owner, repository, *rest = [*url.path.split("/"), "", "", ""]
        known = repos == "repos" and owner == self._owner and repository in self.runs
        if not known or rest[:2] != ["actions", "runs"]:
            return "404 Not Found", {"message": "Not Found", "status": "404"}
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        fields = {"head_sha": "head_sha", "branch": "head_branch", "event": "event"}
        wanted = {field: asked[key] for key, field in fields.items() if key in asked}
        found = [run for run in self.runs[repository] if all(run[f] == value for f, value in wanted.items())]
        return "200 OK", {"total_count": len(found), "workflow_runs": found[::-1]}
