"""Runs from more than one place: starts a run for each cell of an environment, and joins what they wrote.

The modules that judge are compiled from source, never loaded from cached bytecode, as in a run.
"""

from gli.common import sources

sources.compile_from_source()
