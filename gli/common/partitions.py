"""The partitions of AWS: the ARNs and the domain of a region.

Source of truth: partitions.json of botocore.
"""

from __future__ import annotations

_OTHERS = {
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "us-iso-": ("aws-iso", "c2s.ic.gov"),
    "us-isob-": ("aws-iso-b", "sc2s.sgov.gov"),
    "eu-isoe-": ("aws-iso-e", "cloud.adc-e.uk"),
    "us-isof-": ("aws-iso-f", "csp.hci.ic.gov"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
}


def partition_of(region: str) -> str:
    """The second part of an ARN in this region: `aws`, `aws-cn`, `aws-us-gov`."""
    return _of(region)[0]


def domain_of(region: str) -> str:
    """The domain of AWS's services in this region: `amazonaws.com`, `amazonaws.com.cn`."""
    return _of(region)[1]


def _of(region: str) -> tuple[str, str]:
    return next((of for begins, of in _OTHERS.items() if region.startswith(begins)), ("aws", "amazonaws.com"))
