# Homes, identities, the joining of a study, and where true masks lie, for the scripts beside this
# file. Source it.
#
#   set_up_parties OUT STUDY SITE...
#
# Every party gets OUT/homes/NAME, the server too. What is there already is kept.

as_party() { # as_party OUT NAME: options that make a verb act for a party
    echo "--home $1/homes/$2 --passphrase-file $1/passphrase.txt"
}

set_up_parties() {
    local out=$1 study=$2 name fingerprint
    shift 2
    mkdir -p "$out/joining"
    if [ ! -f "$out/passphrase.txt" ]; then
        (umask 077 && head -c 18 /dev/urandom | base64 > "$out/passphrase.txt")
    fi
    for name in server "$@"; do
        # shellcheck disable=SC2046 # the options are words on purpose
        [ -f "$out/homes/$name/identity.ppcmiid" ] \
            || "$bin/ppcmi" identity new --name "$name" $(as_party "$out" "$name")
    done
    for name in "$@"; do
        [ ! -f "$out/joining/$name.ppcmijoin" ] || continue
        # In real life: two telephone calls.
        fingerprint=$("$bin/ppcmi" identity fingerprint --home "$out/homes/$name")
        # shellcheck disable=SC2046
        "$bin/ppcmi" join request --study "$study" --out "$out/joining/$name.ppcmijoin" \
            $(as_party "$out" "$name")
        # shellcheck disable=SC2046
        "$bin/ppcmi" join approve "$out/joining/$name.ppcmijoin" --study "$study" \
            --out "$out/joining/members.ppcmimembers" --fingerprint "$fingerprint" \
            $(as_party "$out" server)
    done
    fingerprint=$("$bin/ppcmi" identity fingerprint --home "$out/homes/server")
    for name in "$@"; do
        "$bin/ppcmi" join accept "$out/joining/members.ppcmimembers" --study "$study" \
            --fingerprint "$fingerprint" --home "$out/homes/$name"
    done
}

truth_in() { # truth_in PART: the folder for --truth, of a part that split_sites.py wrote
    if [ -d "$1/label_mha" ]; then echo "$1/label_mha"; else echo "$1"; fi
}
