"""The cells of an environment: the places that its runs are made from, where one place does not see everything.

A private address is seen from inside its VPC only, and an AWS account and region are asked with credentials of their
own. `[ENV.cells.NAME]` names such a place, and how its run is started; `gli.judge.merge` joins the verdicts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from gli.config.toml_models import Table

Vantage = Literal["internet", "vpc"]
OF_THE_RUNNER = "vantage"
"""The layer of the checks of the run itself: each cell inside the VPC makes them."""
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Texts = Annotated[tuple[_Text, ...], Field(min_length=1)]


class Ecs(Table):
    """How ECS starts the run of a cell (RunTask on Fargate), and where the run leaves its results."""

    cluster: _Text
    task_definition: _Text
    subnets: _Texts
    security_groups: _Texts
    results: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?$")]
    """`s3://BUCKET/PREFIX`."""
    container: _Text = "verify"
    """The container of the task definition that holds the suite."""
    assign_public_ip: bool = False
    profile: _Text | None = None
    """The profile of the AWS configuration that `gli run --cells` starts the task with; default: the usual chain."""


class Cell(Table):
    """One place that a run is made from."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    vantage: Vantage
    region: _Text | None = None
    """The region that its run asks AWS in; default: that of `[ENV.aws]`."""
    account_id: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    """The account that its run's identity must be of; default: that of `[ENV.aws]`."""
    sees: _Texts = ("*",)
    """The targets whose checks of the vantage `vpc` it can see; `*`, `?` and `[...]` as in file names."""
    run: Literal["local", "ecs", "elsewhere"] = "elsewhere"
    """What starts its run: a process of this machine, a task of ECS, or somebody else."""
    ecs: Ecs | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Cell:
        if (self.run == "ecs") != (self.ecs is not None):
            raise ValueError('needs run = "ecs" and a table ecs, or neither of them')
        if self.vantage == "internet" and self.sees != ("*",):
            raise ValueError("has sees, which is about private addresses, and no run from the internet sees one")
        return self

    def can_see(self, vantage: Vantage, layer: str, target: str) -> bool:
        """Whether its run can judge a check of this vantage and layer on a target."""
        if vantage == "internet":
            return True
        return self.vantage == "vpc" and (layer == OF_THE_RUNNER or any(fnmatchcase(target, p) for p in self.sees))
