#!/usr/bin/env bash
# Install torch in a step of its own, so that everything after meets it and leaves it alone.
#
#   scripts/install_torch.sh PYTHON VERSION [INDEX]
#
# A plain `pip install torch` on Linux takes the CUDA build (several GB). INDEX is an extra
# package index that has the small CPU wheels; pip prefers them, since 2.13.0+cpu sorts after
# 2.13.0. An index that cannot be reached is left out with a notice: pip itself would retry
# for minutes, and its own configuration (a mirror, a folder of wheels) may have torch.
set -euo pipefail

python=$1
version=$2
index=${3:-}

if [[ -n $index ]] && ! "$python" - "$index" <<'PY'; then
import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1].rstrip("/") + "/torch/", timeout=10).close()
except (OSError, ValueError) as problem:
    sys.exit(f"{sys.argv[1]}: {getattr(problem, 'reason', problem)}")
PY
    echo "That index cannot be reached; torch comes from where pip is set up to look." >&2
    index=
fi

"$python" -m pip install ${index:+--extra-index-url "$index"} "torch==$version"
