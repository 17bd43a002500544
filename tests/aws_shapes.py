"""Checks whether AWS could give an answer: compares it with botocore's model of the operation, member by member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "boolean": (bool,),
    "timestamp": (datetime,),
    "blob": (bytes, str),
}
# botocore decodes policy documents after it has parsed an answer
_DOCUMENTS = frozenset({"policyDocumentType"})
# EC2's model of an endpoint's state has capitals; the service answers as its documentation's examples do: available
_IN_LOWER_CASE = frozenset({"ec2.describe_vpc_endpoints.VpcEndpoints[].State"})
# Amazon MQ's model has capitals; brokers have their engine as they were created, and the documentation says RabbitMQ
_AS_CREATED = frozenset({"mq.list_brokers.BrokerSummaries[].EngineType", "mq.describe_broker.EngineType"})


def objections(shape: Any, value: Any, path: str) -> list[str]:
    """The differences of an answer from its model: names, types, enumerations, missing members."""
    return list(_differing(shape, value, path))


def _differing(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape is None or value is None:
        return
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, Mapping):
            yield f"{path} is no structure: {value!r}"
            return
        members = shape.members
        yield from (f"{path}.{name} is no member" for name in value.keys() - members.keys() - {"ResponseMetadata"})
        yield from (f"{path}.{name} is required" for name in shape.required_members if name not in value)
        for name in value.keys() & members.keys():
            yield from _differing(members[name], value[name], f"{path}.{name}")
    elif kind == "list":
        if not isinstance(value, list | tuple):
            yield f"{path} is no list: {value!r}"
            return
        for each in value:
            yield from _differing(shape.member, each, f"{path}[]")
    elif kind == "map":
        for key, each in value.items():
            yield from _differing(shape.key, key, f"{path}<{key}>")
            yield from _differing(shape.value, each, f"{path}[{key}]")
    elif not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
        if not (shape.name in _DOCUMENTS and isinstance(value, Mapping)):
            yield f"{path} is no {kind}: {value!r}"
    elif (known := shape.metadata.get("enum")) and value not in _spelt(known, path):
        yield f"{path} is {value!r}, none of {known}"


def _spelt(known: list[str], path: str) -> list[str]:
    """The values of an enumeration as the service spells them."""
    if path in _IN_LOWER_CASE:
        return [value.lower() for value in known]
    return [*known, "RabbitMQ"] if path in _AS_CREATED else known


def excess(shape: Any, value: Any, path: str) -> list[str]:
    """The lists and numbers of a request that are outside the service's limits."""
    return list(_exceeding(shape, value, path))


# limits from AWS's documentation that its models lack
_MOST = {
    "ecs.DescribeServices.services": 10,
    "ecs.DescribeTasks.tasks": 100,
    "ecs.DescribeClusters.clusters": 100,
    "secretsmanager.ListSecrets.Filters[].Values": 10,
    "secretsmanager.BatchGetSecretValue.SecretIdList": 20,
    "cloudwatch.GetMetricData.MetricDataQueries": 500,
    "elbv2.DescribeLoadBalancers.Names": 20,
}


def _exceeding(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape is None:
        return
    if shape.type_name == "structure":
        for name, each in value.items():
            if name in shape.members:
                yield from _exceeding(shape.members[name], each, f"{path}.{name}")
    elif shape.type_name == "list":
        most = min(shape.metadata.get("max", len(value)), _MOST.get(path, len(value)))
        if not shape.metadata.get("min", 0) <= len(value) <= most:
            yield f"{path} holds {len(value)}, and may hold {shape.metadata.get('min', 0)} to {most}"
        for each in value:
            yield from _exceeding(shape.member, each, f"{path}[]")
    elif shape.type_name in ("string", "integer", "long"):
        size = len(value) if isinstance(value, str) else value
        least, most = shape.metadata.get("min", size), shape.metadata.get("max", size)
        if not least <= size <= most:
            yield f"{path} = {value!r} is not between {least} and {most}"
