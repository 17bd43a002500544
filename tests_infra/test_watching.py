"""Log groups, alarms and topics: whether somebody would see it, and be told."""

from collections.abc import Mapping, Sequence

from gli.environments import Alarms, Environment
from gli.observe.aws.watching import Alarm, LogGroup, Topic
from gli.saying import listed, saw

_SCALES_DOWN = "AlarmLow"  # target tracking keeps such alarms in ALARM while a service idles


def test_logs_groups_exist(log_groups: Mapping[str, LogGroup], target: str) -> None:
    """The log group exists."""
    assert log_groups[target].exists, saw("none", expected=f"the log group {target}")


def test_logs_retention(log_groups: Mapping[str, LogGroup], target: str, environment: Environment) -> None:
    """Events are kept long enough to look into an incident, and not for ever."""
    assert environment.logs is not None
    days, least = log_groups[target].retention_days, environment.logs.minimum_retention_days
    assert days is not None, saw("events that never expire, or no group", expected=f"a retention on {target}")
    assert days >= least, saw(f"{days} days", expected=f"at least {least} days on {target}")


def test_alarms_exist(alarms: Sequence[Alarm], target: Alarms, live_dimensions: Sequence[str]) -> None:
    """Every metric that must be watched has an alarm, on resources that live."""
    missing = sorted(set(target.metrics) - {a.metric for a in alarms})
    assert not missing, saw(f"no alarm on {listed(missing)}", expected=f"an alarm of {target.prefix}* on each metric")
    ghosts = [
        f"{a.name} watches {value}" for a in alarms for value in a.dimensions.values() if value not in live_dimensions
    ]
    assert not ghosts, saw(listed(ghosts), expected="alarms on resources that exist")


def test_alarms_quiet(alarms: Sequence[Alarm]) -> None:
    """Nothing is in alarm now."""
    loud = [f"{a.name}: {a.reason}" for a in alarms if a.state == "ALARM" and _SCALES_DOWN not in a.name]
    assert not loud, saw(listed(loud), expected="no alarm in state ALARM")


def test_alarms_actions(alarms: Sequence[Alarm], topics: Mapping[str, Topic]) -> None:
    """Every alarm is switched on and notifies a topic that exists."""
    arns = {t.arn for t in topics.values() if t.arn}
    assert alarms, saw("no alarm", expected="alarms that notify")
    mute = [f"{a.name} is switched off" for a in alarms if not a.enabled]
    mute += [f"{a.name} notifies {listed(a.actions)}" for a in alarms if a.enabled and not arns & set(a.actions)]
    assert not mute, saw(listed(mute), expected=f"every alarm to notify {listed(sorted(topics))}")


def test_sns_subscribed(topics: Mapping[str, Topic], target: str) -> None:
    """The topic reaches people by mail and a chat by HTTPS or a function, and nobody still has to confirm."""
    topic = topics[target]
    assert topic.arn is not None, saw("none", expected=f"the topic {target}")
    assert not topic.pending, saw(f"{topic.pending} pending", expected=f"every subscription of {target} confirmed")
    assert "email" in topic.confirmed and {"https", "lambda"} & set(topic.confirmed), saw(
        listed(topic.confirmed), expected=f"{target} to reach email, and https or lambda"
    )
