#!/bin/sh
# The AWS infrastructure of one environment (stg, or the one that is named first): gli infra apply --help
environment=stg
case "${1-}" in stg | prod) environment=$1 && shift ;; esac
cd "$(dirname "$(readlink -f "$0")")/.." && exec .venv/bin/gli infra apply --env "$environment" "$@"
