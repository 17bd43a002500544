"""Logs, metrics, alarms and topics: are failures visible, and do people get a message?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import either, listed, phrase, saw
from gli.observe.engine.observation import unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.parts import Alarms, MetricFilter
    from gli.observe.aws.cloudwatch_alarms import Alarm, LogGroup
    from gli.observe.aws.logs import LogErrors, LogTail
    from gli.observe.aws.metric_filters import Filtered
    from gli.observe.aws.service_measures import Comparison, Traffic
    from gli.observe.aws.sns import Topic

MOST_ERRORS, MOST_ERRORS_GROW, ERRORS_AT_REST = 0.01, 2.0, 0.002
SLOWEST_S, SLOWEST_GROWS, NEVER_SLOW_S = 1.0, 1.5, 0.2
LEAST_OF_THE_USUAL = 0.5
BLIND_S = 3600
MOST_ERROR_LINES, ERROR_LINES_GROW = 5, 3.0
_SCALES_DOWN = "AlarmLow"  # target tracking keeps such alarms in ALARM while a service idles


def test_logs_groups_exist(log_groups: Mapping[str, LogGroup], target: str) -> None:
    """The log group exists."""
    assert log_groups[target].exists, saw(phrase("none"), expected=phrase("the log group {}", target))


def test_logs_retention(log_groups: Mapping[str, LogGroup], target: str, environment: Environment) -> None:
    """Events are kept long enough to investigate an incident, and not for ever."""
    assert environment.logs is not None
    days, least = log_groups[target].retention_days, environment.logs.minimum_retention_days
    assert days is not None, saw(
        phrase("events that never expire, or no group"), expected=phrase("a retention on {}", target)
    )
    assert days >= least, saw(phrase("{} days", days), expected=phrase("at least {} days on {}", least, target))


def test_logs_recent_ingestion(log_tail: LogTail) -> None:
    """The service's tasks write to their log group, now."""
    age = log_tail.age_s
    assert age is not None and age <= log_tail.fresh_s, saw(
        phrase("none") if age is None else phrase("the newest {:.0f} min ago", age / 60),
        expected=phrase("an event of the last {:.0f} min in {}", log_tail.fresh_s / 60, log_tail.group),
    )


def test_logs_error_scan(log_errors: LogErrors) -> None:
    """The service does not log more errors since its deploy than before."""
    most = ERROR_LINES_GROW * log_errors.per_minute_before
    lines = log_errors.lines if log_errors.complete else phrase("more than {}", log_errors.lines)
    many = log_errors.lines > MOST_ERROR_LINES and log_errors.per_minute > most
    if (many and not log_errors.complete_before) or (not many and not log_errors.complete):
        raise unknown(
            "too-little-data",
            phrase("{} holds more lines than were searched: {} errors so far", log_errors.group, log_errors.lines),
        )
    assert not many, saw(
        phrase("{} ({:.1f} a minute), new: {}", lines, log_errors.per_minute, listed(log_errors.new)),
        expected=phrase(
            "at most {:.1f} error lines a minute in {} since {:%H:%M} UTC", most, log_errors.group, log_errors.since
        ),
    )


def test_logs_new_errors(log_errors: LogErrors) -> None:
    """No kind of error occurs again and again since the deploy that did not occur in the hour before."""
    new = [phrase("{} times {}", n, kind) for kind, n in log_errors.repeated]
    if not (log_errors.complete_before if new else log_errors.complete):
        raise unknown(
            "too-little-data",
            phrase("{} holds more lines than were searched: {} errors so far", log_errors.group, log_errors.lines),
        )
    assert not new, saw(
        listed(new),
        expected=phrase("no new kind of error in {} since {:%H:%M} UTC", log_errors.group, log_errors.since),
    )


def test_metric_5xx_rate(error_rate: Comparison) -> None:
    """The share of server errors is low, and not higher than before the deploy."""
    most = MOST_ERRORS
    if error_rate.before is not None:
        most = min(most, MOST_ERRORS_GROW * error_rate.before + ERRORS_AT_REST)
    assert error_rate.now <= most, saw(
        phrase("{:.2%} of {:.0f} requests since {:%H:%M} UTC", error_rate.now, error_rate.requests, error_rate.since),
        expected=phrase("at most {:.2%} server errors from {}", most, error_rate.service),
    )


def test_metric_p95_latency(latency: Comparison) -> None:
    """Answers are fast, and not slower than before the deploy: the p95 of the slowest five minutes."""
    most = SLOWEST_S
    if latency.before is not None:
        most = min(most, max(SLOWEST_GROWS * latency.before, NEVER_SLOW_S))
    assert latency.now <= most, saw(
        phrase("{:.2f} s since {:%H:%M} UTC", latency.now, latency.since),
        expected=phrase("a p95 of at most {:.2f} s from {}", most, latency.service),
    )


def test_metric_traffic_volume(traffic: Traffic) -> None:
    """Users still come: if DNS, the CDN or the frontend breaks, requests stop, and no error is counted."""
    least = LEAST_OF_THE_USUAL * traffic.usual
    assert traffic.requests >= least, saw(
        phrase("{:.0f} requests since {:%H:%M} UTC", traffic.requests, traffic.since),
        expected=phrase("at least {:.0f} to {}, half of what is usual at this hour", least, traffic.service),
    )


def test_alarms_exist(
    alarms: Sequence[Alarm], target: Alarms, dead_dimensions: Sequence[str], unfed_alarms: Sequence[str]
) -> None:
    """Every metric that must be watched has an alarm that fires soon after it gets worse, on existing resources, and
    gets its data.
    """
    missing = sorted(set(target.metrics) - {metric for a in alarms for metric in a.metrics})
    awake = {(a.metrics, a.dimensions) for a in alarms if not a.sleeps}
    sleeping = [
        phrase("{}: {}", a.name, a.limit)
        for a in alarms
        if a.sleeps and not a.scales and set(a.metrics) & set(target.metrics) and (a.metrics, a.dimensions) not in awake
    ]
    assert not missing, saw(
        phrase("no alarm on {}", listed(missing)), expected=phrase("an alarm of {}* on each metric", target.prefix)
    )
    assert not sleeping, saw(
        listed(sleeping), expected=phrase("for each metric, an alarm that fires when the metric gets worse")
    )
    ghosts = [
        phrase("{} watches {}", a.name, value)
        for a in alarms
        for value in dict.fromkeys(value for dimensions in a.dimensions for _, value in dimensions)
        if value in dead_dimensions
    ]
    assert not ghosts, saw(listed(ghosts), expected=phrase("alarms on resources that exist"))
    blind = [phrase("{} has had none for {:.0f} min", a.name, a.blind_s / 60) for a in alarms if a.blind_s > BLIND_S]
    assert not blind, saw(listed(blind), expected=phrase("alarms that get data"))
    unfed = [
        phrase("{} on {}", a.name, listed(f"{name} {value}" for each in a.dimensions for name, value in each))
        for a in alarms
        if a.name in unfed_alarms
    ]
    assert not unfed, saw(
        phrase("no data for {}", listed(unfed)), expected=phrase("dimensions under which AWS sends the metric")
    )


def test_dashboards_exist(dashboards: Sequence[str], target: Alarms) -> None:
    """Every dashboard that people look at exists, and shows something."""
    missing = sorted(set(target.dashboards) - set(dashboards))
    assert not missing, saw(
        phrase("no dashboard {}", listed(missing)), expected=phrase("the dashboards {}", listed(target.dashboards))
    )


def test_alarm_filter_counts(metric_filters: Mapping[str, Filtered], target: MetricFilter) -> None:
    """CloudWatch counts the lines that an alarm waits for, and no other line: tried with lines of the application."""
    found = metric_filters[target.metric]
    assert found.patterns, saw(
        phrase("none"), expected=phrase("a metric filter of {} that feeds {}", target.group, target.metric)
    )
    assert not found.missed, saw(
        phrase("not counted by {}: {}", listed(found.patterns), listed(found.missed)),
        expected=phrase("{} to count these lines of {}", target.metric, target.group),
    )
    assert not found.taken, saw(
        phrase("counted by {}: {}", listed(found.patterns), listed(found.taken)),
        expected=phrase("{} not to count these lines of {}", target.metric, target.group),
    )


def test_alarms_quiet(alarms: Sequence[Alarm]) -> None:
    """No alarm is active now, among all watched metrics; alarms that only scale a service do not count."""
    assert alarms, saw(phrase("no alarm"), expected=phrase("alarms that could ring"))
    loud = [
        phrase("{}: {}", a.name, a.reason)
        for a in alarms
        if a.state == "ALARM" and not a.scales and _SCALES_DOWN not in a.name
    ]
    assert not loud, saw(listed(loud), expected=phrase("no alarm in state ALARM"))


def test_alarms_actions(alarms: Sequence[Alarm], topics: Mapping[str, Topic], rollback_alarms: Sequence[str]) -> None:
    """Every metric alarm is switched on and notifies an existing topic, itself or through a composite alarm. An alarm
    that only scales a service need not notify anybody, nor one that only rolls deployments back, if another alarm on
    its metrics does.
    """
    arns = {t.arn for t in topics.values() if t.arn}
    told = {w for a in alarms if a.composite and _notifies(a, topics) for w in a.watched}
    watching = [a for a in alarms if not a.composite and not a.scales]
    assert watching, saw(phrase("no alarm"), expected=phrase("alarms that notify"))
    heard = {a.metrics for a in watching if a.enabled and arns & set(a.actions)}
    watching = [a for a in watching if a.actions or a.name not in rollback_alarms or a.metrics not in heard]
    mute = [phrase("{} is switched off", a.name) for a in watching if not a.enabled]
    mute += [
        phrase("{} notifies {}", a.name, listed(a.actions))
        for a in watching
        if a.enabled and not arns & set(a.actions) and not {a.name, a.arn} & told
    ]
    assert not mute, saw(listed(mute), expected=phrase("every alarm to notify {}", listed(sorted(topics))))


def test_sns_takes_alarms(
    alarms: Sequence[Alarm], topics: Mapping[str, Topic], target: str, environment: Environment
) -> None:
    """CloudWatch may publish to the topic, by its policy and by the key that encrypts it, and the filters of the
    subscriptions let an alarm's message pass. Not all alarms of the environment notify others alone, or nobody.
    """
    topic = topics[target]
    assert topic.arn is not None and topic.refuses_alarms is None, saw(
        topic.refuses_alarms or phrase("none"), expected=phrase("{} to take what alarms publish", target)
    )
    watching = [a for a in alarms if not a.scales]
    elsewhere = sorted({action for a in watching if a.enabled for action in a.actions})
    assert not watching or any(_notifies(a, topics) for a in watching), saw(
        phrase("all alarms notify {}", listed(elsewhere)) if elsewhere else phrase("no alarm that notifies anybody"),
        expected=phrase("an alarm of the environment that notifies {}", listed(sorted(topics))),
    )
    groups = environment.alarms.subscribers if environment.alarms else ()
    dropped = {p for group in groups if not {*group} & {*topic.confirmed} for p in {*group} & {*topic.deaf}}
    assert not dropped, saw(
        phrase("a filter policy that drops alarms, by {}", listed(sorted(dropped))),
        expected=phrase("{} to pass alarms on to its subscribers", target),
    )


def _notifies(alarm: Alarm, topics: Mapping[str, Topic]) -> bool:
    return alarm.enabled and bool({t.arn for t in topics.values() if t.arn} & set(alarm.actions))


def test_sns_subscribed(topics: Mapping[str, Topic], target: str, environment: Environment) -> None:
    """The topic reaches people by e-mail and a chat by HTTPS or a function, and no subscription is pending."""
    topic = topics[target]
    assert topic.arn is not None, saw(phrase("none"), expected=phrase("the topic {}", target))
    assert not topic.pending, saw(
        phrase("{} pending", topic.pending), expected=phrase("every subscription of {} confirmed", target)
    )
    groups = environment.alarms.subscribers if environment.alarms else ()
    there = {*topic.confirmed, *topic.deaf}
    assert all(set(group) & there for group in groups), saw(
        listed(sorted(there)), expected=phrase("{} to reach {}", target, listed(either(group) for group in groups))
    )
