"""Set-ups of logs and alarms."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.aws.seed_watching import put_metric_filter
from sandbox.site import required
from sandbox.variants import Sandbox, variant


@variant("two-filters-for-a-metric")
def two_filters_for_a_metric(sandbox: Sandbox) -> Iterator[None]:
    """Two metric filters feed the metric of the API's errors, and each counts a part of the lines."""
    wanted = required(sandbox.environment.alarms).metric_filters[0]
    put_metric_filter(sandbox.account, sandbox.environment, wanted, '"Internal Server Error"')
    put_metric_filter(sandbox.account, sandbox.environment, wanted, "?Traceback ?CRITICAL", name="Crashes")
    yield
    sandbox.aws("logs").delete_metric_filter(logGroupName=wanted.group, filterName="Crashes")
    put_metric_filter(sandbox.account, sandbox.environment, wanted)
