"""The part of GitHub's REST API that a release uses: the runs of a repository's workflows for one commit.

Each run is a file beside the remotes, so all sandboxes over the same remotes see the same runs.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sandbox import workflows
from sandbox.processes import LOOPBACK
from sandbox.relay import SUITE_HEADER

_MAX_HEADERS = 16 * 1024
_RULES = [
    {"type": "deletion"},
    {"type": "non_fast_forward"},
    {"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": "gli/verdict"}]}},
]
Run = dict[str, Any]


class GitHub:
    """Answers `GET /repos/OWNER/NAME/actions/runs` and `.../rules/branches/BRANCH`; the rules are as GLI wants them.

    Faults change the runs while the sandbox runs.
    """

    def __init__(self, owner: str, folder: Path) -> None:
        self.url = ""
        """Where it listens."""
        self.requests = 0
        """Requests of the suite."""
        self._owner = owner
        self._folder = folder
        self._server: asyncio.Server | None = None

    def deployed(self, repository: str, branch: str, commit: str) -> None:
        """Record a successful run for this commit, if the repository has a workflow."""
        ran = any((r["head_branch"], r["head_sha"]) == (branch, commit) for r in self.runs(repository))
        if workflows.deployed(repository) and not ran:
            self.run(repository, branch, commit)

    def runs(self, repository: str) -> list[Run]:
        """The runs of a repository, oldest first, in GitHub's format."""
        found = (self._folder / repository).glob("*.json")
        return sorted((json.loads(file.read_text(encoding="utf-8")) for file in found), key=lambda run: run["id"])

    def run(self, repository: str, branch: str, commit: str, conclusion: str = "success") -> Run:
        """Add a completed run of a repository's deploy workflow."""
        (self._folder / repository).mkdir(parents=True, exist_ok=True)
        number = max((run["id"] for run in self.runs(repository)), default=0) + 1
        run = {
            "id": number,
            "run_number": number,
            "run_attempt": 1,
            "path": workflows.FILE,
            "event": "push",
            "head_branch": branch,
            "head_sha": commit,
            "status": "completed",
            "conclusion": conclusion,
            "html_url": f"https://github.com/{self._owner}/{repository}/actions/runs/{number}",
        }
        self.change(repository, run)
        return run

    def change(self, repository: str, run: Run, **fields: str) -> None:
        """Change fields of a run."""
        file = self._file(repository, run)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(run | fields), encoding="utf-8")
        fresh.replace(file)

    def forget(self, repository: str, run: Run) -> None:
        """Delete a run."""
        self._file(repository, run).unlink()

    def _file(self, repository: str, run: Run) -> Path:
        return self._folder / repository / f"{run['id']}.json"

    async def start(self) -> None:
        """Listen on a port that the system chooses."""
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

    def _answer(self, target: str) -> tuple[str, Any]:
        url = urlsplit(target)
        _, repos, owner, repository, *rest = [*url.path.split("/"), "", "", ""]
        if repos == "repos" and owner == self._owner and rest[:2] == ["rules", "branches"]:
            return "200 OK", _RULES
        runs = self.runs(repository) if re.fullmatch(r"\w[\w.-]*", repository) else []
        if repos != "repos" or owner != self._owner or rest[:2] != ["actions", "runs"] or not runs:
            return "404 Not Found", {"message": "Not Found", "status": "404"}
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        fields = {"head_sha": "head_sha", "branch": "head_branch", "event": "event"}
        wanted = {field: asked[key] for key, field in fields.items() if key in asked}
        found = [run for run in runs if all(run[f] == value for f, value in wanted.items())]
        return "200 OK", {"total_count": len(found), "workflow_runs": found[::-1]}
