"""A run under pytest. What judges is compiled from its source, beginning with the modules of this room."""

from gli.common import sources

sources.compile_from_source()
