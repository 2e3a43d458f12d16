#!/usr/bin/env bash
# What fewer bits in queries and replies cost in Dice.
#
#   benchmarks/precision.sh OUT
#
# OUT is a folder that benchmarks/real_data.sh has made: the same networks answer the same test
# images with bundles in float32, float16 and int8, by the verbs that users use.
set -euo pipefail

out=$1
here=$(cd "$(dirname "$0")" && pwd)
bin=${PPCMI_BIN:-$here/../.venv/bin}
# shellcheck source=benchmarks/parties.sh
source "$here/parties.sh"

truth=$(truth_in "$out/split/test")
read -ra server <<< "$(as_party "$out" server)"
for precision in float32 float16 int8; do
    for site in north south west; do
        there=$out/precision/$precision/$site
        read -ra me <<< "$(as_party "$out" "$site")"
        mine=(--site-dir "$out/sites/$site" --key "$out/$site.ppcmikey" "${me[@]}")
        "$bin/ppcmi" site protect "$out/split/test" "${mine[@]}" --out "$there/queries" \
            --precision "$precision"
        "$bin/ppcmi" server map "$there/queries" --server-dir "$out/server" \
            --out "$there/replies" --precision "$precision" "${server[@]}"
        "$bin/ppcmi" site reveal "$there/replies" "${mine[@]}" --out "$there/masks"
        "$bin/ppcmi" evaluate --pred "$there/masks" --truth "$truth" \
            --study "$out/study.yaml" --csv "$there/scores.csv"
    done
done
"$bin/python" "$here/precision_table.py" "$out/precision"
