#!/bin/sh
# multigit-push-stg.sh "message" [options]: gli push --help
cd "$(dirname "$(readlink -f "$0")")/.." && exec .venv/bin/gli push stg -m "$@"
