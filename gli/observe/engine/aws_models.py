"""botocore's descriptions of AWS services, reduced to the operations that the suite may call.

Source of truth: the `service-2` files of botocore. The complete descriptions take a third of a run's memory: that of
`ec2` describes some 750 operations, of which the suite calls five.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader, Loader, instance_cache

from gli.observe.engine.guard import AWS_READS, DISCOVERY_READS

Model = dict[str, Any]
_WHOLE = {"sts"}  # botocore assumes roles with AssumeRole


@cache
def loader() -> Loader:
    """The loader of models for botocore sessions (their component `data_loader`), the same for all sessions."""
    return _Reads(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH],
        include_default_search_paths=False,  # without ~/.aws/models: a model names the hosts of a service
        file_loader=_PlainFiles(),
    )


class _Reads(Loader):  # type: ignore[misc]
    @instance_cache  # type: ignore[untyped-decorator]
    def list_available_services(self, type_name: str) -> list[str]:
        """All services. botocore itself looks for a model of this type in each of their 400 folders."""
        return sorted(next(os.walk(self.BUILTIN_DATA_PATH))[1])

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)  # with all files of the model
        cut = type_name == "service-2" and service_name in AWS_READS and service_name not in _WHOLE
        return reads_of(model, _called(service_name)) if cut else model


def _called(service: str) -> frozenset[str]:
    return AWS_READS[service] | DISCOVERY_READS.get(service, frozenset())


class _PlainFiles(JSONFileLoader):  # type: ignore[misc]
    """Reads the files as botocore does, but into dicts: botocore's OrderedDicts take twice the memory."""

    def load_file(self, file_path: str) -> Any:
        """The content of `FILE_PATH.json` or `FILE_PATH.json.gz`; None if neither exists."""
        for name, opened in ((f"{file_path}.json", open), (f"{file_path}.json.gz", gzip.open)):
            try:
                with opened(name, "rb") as file:
                    return json.loads(file.read().decode())
            except FileNotFoundError:
                continue
        return None


def reads_of(model: Model, reads: frozenset[str]) -> Model:
    """The model, reduced in place to the shapes of these operations, and without documentation. The other operations
    keep their names, so that the guard sees and refuses a call of one.
    """
    for name, operation in model["operations"].items():
        operation.pop("documentation", None)
        if name not in reads:
            for key in ("input", "output", "errors"):
                operation.pop(key, None)
    wanted = _shapes_in(model["operations"].values())
    shapes: Model = {}
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = shape = model["shapes"][name]
            shape.pop("documentation", None)
            for member in shape.get("members", {}).values():
                member.pop("documentation", None)
            wanted += _shapes_in([shape])
    model["shapes"] = shapes
    return model


def _shapes_in(parts: Iterable[Model]) -> list[str]:
    """The names of the shapes that these operations or shapes refer to."""
    found = []
    for part in parts:
        refers = [part.get(key) for key in ("input", "output", "member", "key", "value")]
        refers += [*part.get("errors", ()), *part.get("members", {}).values()]
        found += [refer["shape"] for refer in refers if refer]
    return found
