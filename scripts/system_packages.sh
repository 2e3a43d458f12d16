#!/usr/bin/env bash
# Make sure that the system has what pip cannot install.
#
#   scripts/system_packages.sh venv      Python 3.11 or newer that can make virtual environments
#   scripts/system_packages.sh display   what a real napari window under a virtual display needs
#
# As root on Debian or Ubuntu, what is missing is installed with apt. Anywhere else
# it is listed, with the way to install it, and the exit status is 1.
set -euo pipefail

PYTHON=${PYTHON:-python3}

# What is looked for | the Debian package that has it. Looking for the thing itself
# and not for the package works on every distribution.
DISPLAY_NEEDS=(
    "command:xvfb-run|xvfb"
    "command:xauth|xauth"
    "command:xdpyinfo|x11-utils"
    "library:libGL.so.1|libgl1"
    "library:libEGL.so.1|libegl1"
    "library:libxkbcommon-x11.so.0|libxkbcommon-x11-0"
    "library:libdbus-1.so.3|libdbus-1-3"
    "library:libfontconfig.so.1|libfontconfig1"
    "library:libglib-2.0.so.0|libglib2.0-0"
    "library:libX11-xcb.so.1|libx11-xcb1"
    "library:libxcb-cursor.so.0|libxcb-cursor0"
    "library:libxcb-icccm.so.4|libxcb-icccm4"
    "library:libxcb-image.so.0|libxcb-image0"
    "library:libxcb-keysyms.so.1|libxcb-keysyms1"
    "library:libxcb-randr.so.0|libxcb-randr0"
    "library:libxcb-render-util.so.0|libxcb-render-util0"
    "library:libxcb-shape.so.0|libxcb-shape0"
    "library:libxcb-xkb.so.1|libxcb-xkb1"
    "font:any|fonts-dejavu-core"
)

have_library() {
    # No pipe into `grep -q`: it would leave early and pipefail would call that a failure.
    local listed
    listed=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p)
    [[ $listed == *$'\t'"$1 ("* ]]
}

have_font() {
    [[ -n $(find /usr/share/fonts /usr/local/share/fonts "$HOME/.fonts" "$HOME/.local/share/fonts" \
        \( -name '*.ttf' -o -name '*.otf' \) -print -quit 2>/dev/null) ]]
}

have() {
    case $1 in
        command:*) command -v "${1#command:}" >/dev/null ;;
        library:*) have_library "${1#library:}" ;;
        font:*) have_font ;;
    esac
}

python_version() { "$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# `venv` alone is not enough: Debian leaves `ensurepip` out of the bare interpreter.
python_makes_venvs() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }

is_debian() { command -v apt-get >/dev/null && command -v dpkg >/dev/null; }

# Newer Debian and Ubuntu renamed some libraries with the suffix t64.
debian_name() {
    if apt-cache show "$1t64" >/dev/null 2>&1; then echo "$1t64"; else echo "$1"; fi
}

# List what is missing: "thing|package" on a line each.
missing() {
    local need
    case $1 in
        venv)
            if ! python_version >/dev/null; then
                echo "command:$PYTHON|python3"
                # Not to be seen yet without an interpreter, but needed right after it.
                [[ $PYTHON != python3 ]] || echo "Python module:ensurepip|python3-venv"
                echo "Python module:ensurepip|python3-venv"
            elif ! python_makes_venvs; then
                # An interpreter beside the distribution's own (python3.12) has its own package.
                if [[ $PYTHON =~ ^python3\.[0-9]+$ ]]; then
                    echo "Python module:ensurepip|$PYTHON-venv"
                else
                    echo "Python module:ensurepip|python3-venv"
                fi
            fi
            ;;
        display)
            for need in "${DISPLAY_NEEDS[@]}"; do
                have "${need%%|*}" || echo "$need"
            done
            ;;
    esac
}

install_with_apt() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    local line packages=()
    while IFS= read -r line; do packages+=("$(debian_name "${line##*|}")"); done <<<"$1"
    echo "Installing with apt: ${packages[*]}"
    apt-get install -y --no-install-recommends "${packages[@]}"
}

explain() {
    local line packages=()
    {
        echo "This machine lacks:"
        while IFS= read -r line; do
            echo "  - ${line%%|*}  (Debian/Ubuntu package $(debian_name "${line##*|}"))"
            packages+=("$(debian_name "${line##*|}")")
        done <<<"$1"
        if is_debian; then
            echo "Install it and run make again:"
            echo "  sudo apt-get update && sudo apt-get install -y ${packages[*]}"
        else
            echo "Install these with your system's package manager (their names differ a little"
            echo "between distributions) and run make again."
        fi
    } >&2
}

main() {
    local what=$1 lacking
    if [[ $what == display && $(uname -s) != Linux ]]; then
        return 0 # macOS has its own display and libraries.
    fi
    lacking=$(missing "$what")
    if [[ -n $lacking ]] && is_debian && [[ $(id -u) == 0 ]]; then
        install_with_apt "$lacking"
        lacking=$(missing "$what")
    fi
    if [[ -n $lacking ]]; then
        explain "$lacking"
        return 1
    fi
    if [[ $what == venv ]] && ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "Python 3.11 or newer is needed; $PYTHON is $(python_version)." >&2
        echo "Name a newer one: make PYTHON=python3.12 ..." >&2
        return 1
    fi
}

case ${1:-} in
    venv | display) main "$1" ;;
    *)
        echo "usage: $0 venv|display" >&2
        exit 2
        ;;
esac
