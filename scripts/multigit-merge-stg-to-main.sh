#!/bin/sh
# stg of all eight repositories merged into main, or of none: gli promote --help
cd "$(dirname "$(readlink -f "$0")")/.." && exec .venv/bin/gli promote stg main "$@"
