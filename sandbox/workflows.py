"""The GitHub Actions workflow of each deployable repository, with the steps of the deployment overview.

Names of resources are variables of the GitHub environment that belongs to the branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FILE = ".github/workflows/deploy-staging.yml"


class Step(NamedTuple):
    """One step: its name, and its `run` or `uses` value."""

    name: str
    line: str


_CHECKOUT = Step("Check out the code", "uses: actions/checkout@v4")
_PYTHON = Step("Set up Python", "uses: actions/setup-python@v5")
_NODE = Step("Set up Node.js", "uses: actions/setup-node@v4")
_IMAGE = Step("Build the Docker image", 'run: docker build --tag "$IMAGE:$GITHUB_SHA" .')
_PUSH = Step("Upload to ECR", 'run: docker push "$IMAGE:$GITHUB_SHA"')
_UPDATE = Step(
    "Update the ECS service",
    'run: aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --task-definition "$TASK_DEFINITION"'
    ' && aws ecs wait services-stable --cluster "$CLUSTER" --services "$SERVICE"',
)

_API = (
    _CHECKOUT,
    _PYTHON,
    Step("Install dependencies and test", "run: pip install -r requirements.txt && pytest"),
    _IMAGE,
    _PUSH,
    Step("Migrate the database", 'run: ./scripts/run-task.sh "$CLUSTER" "python manage.py migrate"'),
    _UPDATE,
    Step("Health check", 'run: curl --fail --retry 10 "$API_URL/health/"'),
)
_WEBSOCKET = (
    _CHECKOUT,
    _NODE,
    _IMAGE,
    _PUSH,
    _UPDATE,
    Step("Connection test", 'run: node scripts/connect.js "$WS_URL"'),
)
_FRONTEND = (
    _CHECKOUT,
    _NODE,
    Step("Install dependencies and build", "run: npm ci && npm run build"),
    Step("Upload to S3", 'run: aws s3 sync dist "s3://$BUCKET"'),
    Step(
        "Invalidate the CloudFront cache",
        'run: aws cloudfront create-invalidation --distribution-id "$DISTRIBUTION" --paths "/*"',
    ),
    Step("Confirm the deployment", 'run: curl --fail "$SITE_URL"'),
)
ENVIRONMENT = "${{ github.ref_name == 'main' && 'production' || 'staging' }}"
_VARIABLES = ("IMAGE", "CLUSTER", "SERVICE", "BUCKET", "DISTRIBUTION", "API_URL", "WS_URL", "SITE_URL")
_STEPS: dict[str, Sequence[Step]] = {"_api-server": _API, "_websocket": _WEBSOCKET, "-frontend": _FRONTEND}


def of(repository: str) -> dict[str, str]:
    """The workflow file of a repository, {path: content}; empty if the repository is not deployed."""
    for suffix, steps in _STEPS.items():
        if repository.endswith(suffix):
            return {FILE: _workflow(steps)}
    return {}


def _workflow(steps: Sequence[Step]) -> str:
    lines = [
        "name: deploy",
        "on:",
        "  push:",
        "    branches: [stg, main]",
        "concurrency: deploy-${{ github.ref_name }}",
        "permissions:",
        "  id-token: write",
        "  contents: read",
        "jobs:",
        "  deploy:",
        "    runs-on: ubuntu-latest",
        f"    environment: {ENVIRONMENT}",
        "    env:",
        *(f"      {name}: ${{{{ vars.{name} }}}}" for name in _VARIABLES),
        "    steps:",
    ]
    for step in steps:
        lines += [f"      - name: {step.name}", f"        {step.line}"]
    return "\n".join(lines) + "\n"
