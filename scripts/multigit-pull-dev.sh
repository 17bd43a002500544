#!/bin/sh
# The branch dev of all eight repositories brought forward in their clones: gli pull --help
cd "$(dirname "$(readlink -f "$0")")/.." && exec .venv/bin/gli pull dev "$@"
