#!/usr/bin/env bash
# A NIfTI volume through the whole chain: is the mask in the volume's exact grid?
#
#   benchmarks/brain_volume.sh VOLUMES OUT
#
# VOLUMES holds caseNNN_flair.nii.gz and caseNNN_mask.nii.gz (ms_brain_lesion/volumes). Two patients
# are two sites, the third is the query. Training is far too short for a score: the grid is the point.
set -euo pipefail

volumes=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
bin=${PPCMI_BIN:-$here/../.venv/bin}
epochs=${EPOCHS:-2}

# shellcheck source=benchmarks/parties.sh
source "$here/parties.sh"

mkdir -p "$out"
"$bin/ppcmi" study new "$out/study.yaml" --name "White matter lesion" --modality MR \
    --class lesion --arrangement blind --force
set_up_parties "$out" "$out/study.yaml" north south
outboxes=()
for pair in north:case019 south:case026; do
    site=${pair%%:*} case=${pair##*:}
    mkdir -p "$out/data/$site"/{images,masks}
    cp "$volumes/${case}_flair.nii.gz" "$out/data/$site/images/$case.nii.gz"
    cp "$volumes/${case}_mask.nii.gz" "$out/data/$site/masks/$case.nii.gz"
    read -ra me <<< "$(as_party "$out" "$site")"
    "$bin/ppcmi" key new "$out/$site.ppcmikey" --study "$out/study.yaml" --site "$site" "${me[@]}"
    "$bin/ppcmi" site train "$out/data/$site" --study "$out/study.yaml" --name "$site" \
        --site-dir "$out/sites/$site" --epochs "$epochs"
    "$bin/ppcmi" site protect "$out/data/$site" --pairs --copies 1 --site-dir "$out/sites/$site" \
        --key "$out/$site.ppcmikey" --out "$out/outbox/$site" "${me[@]}"
    outboxes+=("$out/outbox/$site")
done
read -ra server <<< "$(as_party "$out" server)"
"$bin/ppcmi" server train "${outboxes[@]}" --study "$out/study.yaml" --server-dir "$out/server" \
    --epochs "$epochs" "${server[@]}"
read -ra me <<< "$(as_party "$out" north)"
mine=(--site-dir "$out/sites/north" --key "$out/north.ppcmikey" "${me[@]}")
time "$bin/ppcmi" site protect "$volumes/case007_flair.nii.gz" "${mine[@]}" --out "$out/queries"
time "$bin/ppcmi" server map "$out/queries" --server-dir "$out/server" --out "$out/replies" \
    "${server[@]}"
time "$bin/ppcmi" site reveal "$out/replies" "${mine[@]}" --out "$out/masks"
"$bin/python" - "$volumes/case007_flair.nii.gz" "$out/masks/case007_flair.nii.gz" << 'PYTHON'
import sys

import nibabel
import numpy as np

image, mask = (nibabel.load(path) for path in sys.argv[1:])
print("image", image.shape, "mask", mask.shape, mask.get_data_dtype())
print("classes in the mask:", np.unique(np.asarray(mask.dataobj)).tolist())
same = image.shape == mask.shape and np.array_equal(image.affine, mask.affine)
codes = all(image.header[code] == mask.header[code] for code in ("qform_code", "sform_code"))
print("same shape and affine, bit for bit:", same, "- same qform and sform codes:", bool(codes))
sys.exit(not (same and codes))
PYTHON
