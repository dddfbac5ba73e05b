#!/bin/sh
# make quick-report: runs every quick_* template (or finds it finished) and reports it. Python is the first on the PATH.
# A sweep with failed jobs is reported too, and makes the exit status 1.
set -u
cd "$(dirname "$0")/.."
status=0
set --
for template in multirun_templates/quick_*.yaml; do
    [ -e "$template" ] || { echo "no multirun_templates/quick_*.yaml" >&2; exit 1; }
    name=$(basename "$template" .yaml)
    sweep="outputs/sweeps/$name"
    python -m trustmm -m --config-dir multirun_templates --config-name "$name" "hydra.sweep.dir=$sweep" || status=1
    python -m trustmm.report "$sweep" --out "outputs/report/$name" --title "$name" || status=1
    [ -e "$sweep/cells.csv" ] && set -- "$@" "$sweep"
done
python -m trustmm.report "$@" --out outputs/report --claims --no-log --title "The claims, on all quick studies" || status=1
exit $status
