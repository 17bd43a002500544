"""Deployment verification: observe an environment, check it, judge it, report a verdict."""

__version__ = "0.1.0"
