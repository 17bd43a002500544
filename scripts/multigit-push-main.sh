#!/bin/sh
# multigit-push-main.sh "message" [options]: gli push --help
cd "$(dirname "$(readlink -f "$0")")/.." && exec .venv/bin/gli push main -m "$@"
