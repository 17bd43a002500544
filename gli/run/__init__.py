"""A run under pytest. The modules that judge are compiled from source, never loaded from cached bytecode."""

from gli.common import sources

sources.compile_from_source()
