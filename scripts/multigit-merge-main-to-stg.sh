#!/bin/sh
# main of all eight repositories merged into stg, or of none: gli promote --help
cd "$(dirname "$(readlink -f "$0")")/.." && exec .venv/bin/gli promote main stg "$@"
