#!/usr/bin/env bash
# The whole chain on a real data set, by the verbs that users use, and the central U-Net beside it.
#
#   benchmarks/real_data.sh DATA OUT MODALITY "CLASS NAME" ["CLASS NAME"...]
#
# DATA is a folder of any layout that `ppcmi` reads. Classes are named in the order of their values
# in the masks. CT needs WINDOW, centre and width of a brightness window: WINDOW="40 400". A command that was stopped goes on where it
# was when the script is run again. Wall times go to OUT/times.txt. SIZE=128 takes smaller images,
# UNET_EPOCHS=0 leaves the U-Net out, AUTOENCODER=ppcmi-sf takes the paper's scales, TEST=0.5 sets
# half of the groups apart in place of a fifth. Without SITE_EPOCHS, COPIES and SERVER_EPOCHS the
# commands take their own numbers.
set -euo pipefail

[ $# -ge 4 ] || { echo "Give DATA OUT MODALITY \"CLASS NAME\" (see the head of $0)." >&2; exit 2; }
data=$1 out=$2 modality=$3
shift 3
name=$1 classes=()
for class in "$@"; do classes+=(--class "$class"); done
for class in "${@:2}"; do name+=", $class"; done
if [ "$modality" = CT ] && [ -z "${WINDOW:-}" ]; then
    echo "CT needs a brightness window, centre and width: WINDOW=\"40 400\" before $0." >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
bin=${PPCMI_BIN:-$here/../.venv/bin}
given() { [ -z "$2" ] || echo "$1" "$2"; } # given OPTION VALUE: nothing where there is no value
read -ra site_epochs <<< "$(given --epochs "${SITE_EPOCHS:-}")"
read -ra server_epochs <<< "$(given --epochs "${SERVER_EPOCHS:-}")"
read -ra window <<< "$(given --window "${WINDOW:-}")"
read -ra copies <<< "$(given --copies "${COPIES:-}")"
unet_epochs=${UNET_EPOCHS:-60} size=${SIZE:-256} arrangement=${ARRANGEMENT:-escrow}
autoencoder=${AUTOENCODER:-fine} seed=${SEED:-0} test=${TEST:-0.2}

# shellcheck source=benchmarks/parties.sh
source "$here/parties.sh"

mkdir -p "$out"
timed() { # timed LABEL COMMAND...: run it and note the wall time
    local label=$1 start=$SECONDS
    shift
    "$@"
    echo "$label $((SECONDS - start)) s" >> "$out/times.txt"
}

"$bin/python" "$here/split_sites.py" "$data" "$out/split" --seed "$seed" --test "$test" |
    tee "$out/split.txt"
truth=$(truth_in "$out/split/test")
study=$out/study.yaml
[ -f "$study" ] || "$bin/ppcmi" study new "$study" --name "$name" --modality "$modality" \
    "${classes[@]}" "${window[@]}" --arrangement "$arrangement" --size "$size" "$size" \
    --autoencoder "$autoencoder"

set_up_parties "$out" "$study" north south west

shares=()
for site in north south west; do
    key=$out/$site.ppcmikey
    read -ra me <<< "$(as_party "$out" "$site")"
    [ -f "$key" ] || "$bin/ppcmi" key new "$key" --study "$study" --site "$site" "${me[@]}"
    if [ ! -f "$out/sites/$site/training.json" ]; then
        timed "train $site" "$bin/ppcmi" site train "$out/split/$site" --study "$study" \
            --name "$site" --site-dir "$out/sites/$site" \
            "${site_epochs[@]}" --seed "$seed"
    fi
    if ! ls "$out/outbox/$site"/*.ppcmi > /dev/null 2>&1; then
        timed "protect pairs $site" "$bin/ppcmi" site protect "$out/split/$site" --pairs \
            --site-dir "$out/sites/$site" --key "$key" --out "$out/outbox/$site" \
            "${copies[@]}" "${me[@]}"
    fi
    if [ "$arrangement" = escrow ]; then
        "$bin/ppcmi" share-transform --key "$key" --study "$study" \
            --out "$out/$site.ppcmishare" "${me[@]}"
        shares+=(--share "$out/$site.ppcmishare")
    fi
done
read -ra server <<< "$(as_party "$out" server)"
if [ ! -f "$out/server/mapping_network.safetensors" ]; then
    timed "train server" "$bin/ppcmi" server train "$out"/outbox/{north,south,west} \
        --study "$study" --server-dir "$out/server" "${shares[@]}" \
        "${server_epochs[@]}" --seed "$seed" "${server[@]}"
fi
for site in north south west; do
    read -ra me <<< "$(as_party "$out" "$site")"
    mine=(--site-dir "$out/sites/$site" --key "$out/$site.ppcmikey" "${me[@]}")
    timed "query $site" "$bin/ppcmi" site protect "$out/split/test" "${mine[@]}" \
        --out "$out/queries/$site"
    timed "map $site" "$bin/ppcmi" server map "$out/queries/$site" --server-dir "$out/server" \
        --out "$out/replies/$site" "${server[@]}"
    timed "reveal $site" "$bin/ppcmi" site reveal "$out/replies/$site" "${mine[@]}" \
        --out "$out/masks/$site"
    "$bin/ppcmi" evaluate --pred "$out/masks/$site" --truth "$truth" --study "$study" \
        --csv "$out/scores-$site.csv"
done
[ "$unet_epochs" -gt 0 ] || exit 0
if [ ! -d "$out/unet/masks" ]; then
    timed "train U-Net" "$bin/python" "$here/central_unet.py" "$out/split" --study "$study" \
        --out "$out/unet" --epochs "$unet_epochs" --seed "$seed"
fi
"$bin/ppcmi" evaluate --pred "$out/unet/masks" --truth "$truth" --study "$study" \
    --csv "$out/scores-unet.csv"
