#!/usr/bin/env bash
# The one door: the environment first, then `python -m nuclei COMMAND key=value ...`.
# NUCLEI_PYTHON=/path/to/python uses an interpreter that already has the packages.
set -euo pipefail

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
venv="$here/.venv"
stamp="$venv/.installed" # "installing", "adding" to an environment made by hand, or what `wanted` says
export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}"

fail() {
    echo "error: $*" >&2
    exit 2
}

# What an install is good for: these packages, this interpreter. Read without starting Python.
wanted() {
    local sum
    sum="$({ sha256sum || shasum -a 256; } <"$here/requirements.lock" 2>/dev/null)"
    echo "${sum%% *} $(sed -n 's/^version *= *//p' "$venv/pyvenv.cfg") $(readlink -f "$venv/bin/python")"
}

installed() {
    [[ -x "$venv/bin/python" && -f "$stamp" && "$(<"$stamp")" == "$(wanted)" ]]
}

# Print the first Python that will do; explain on stderr when there is none.
find_python() {
    local name version why="none was found" probe
    probe='import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])'
    for name in python3.12 python3.11 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[12].*/bin/python; do
        command -v "$name" >/dev/null || continue
        if version="$("$name" -c "$probe" 2>/dev/null)"; then
            case "$version" in
                3.11 | 3.12) echo "$name" && return ;;
                *) why="$(command -v "$name") is $version" ;;
            esac
        elif "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            why="$(command -v "$name") has no venv module (on Debian: apt install $name-venv)"
        fi
    done
    fail "Python 3.11 or 3.12 is needed, $why; install one, or name one in NUCLEI_PYTHON"
}

# Any Python can list the commands. The shims of pyenv take longer than Python itself, so they come last.
find_any_python() {
    local name found
    for name in "$venv/bin/python" "${NUCLEI_PYTHON:-python3}" python3 python3.12 python3.11 python; do
        while IFS= read -r found; do
            [[ "$found" == */shims/* ]] || { echo "$found" && return; }
        done < <(type -aP "$name")
    done
    type -P python3 || fail "no Python was found; install Python 3.11 or 3.12"
}

# Show how far pip is: on a terminal one line that changes, elsewhere a line now and then.
follow() {
    local line count=0 last=-20 verb=fetching begin=$SECONDS
    while :; do
        if IFS= read -r -t 5 line; then
            echo "$line" >>"$1"
            [[ "$line" != Collecting* ]] || count=$((count + 1))
            [[ "$line" != "Installing collected"* ]] || verb=unpacking
        elif (($? <= 128)); then
            break
        fi
        if [[ -t 2 ]]; then
            printf '\r\033[K%s: %d packages, %d s' "$verb" "$count" $((SECONDS - begin)) >&2
        elif ((SECONDS - last >= 20)); then
            last=$SECONDS
            echo "$verb: $count packages, $((SECONDS - begin)) s" >&2
        fi
    done
    cat >>"$1"
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# Empty the environment and make it anew, unless it is whole; say in the stamp what is going on.
make_environment() {
    local state=""
    [[ ! -f "$stamp" ]] || state="$(<"$stamp")"
    if [[ "$state" != installing ]] && "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        # Without a stamp it was made by hand: then it is added to, but never emptied.
        if [[ -z "$state" || "$state" == adding ]]; then echo adding; else echo installing; fi >"$stamp"
        return
    fi
    echo installing >"$stamp"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock ! -name .installed -exec rm -rf {} +
    "$1" -m venv "$venv" >"$log" 2>&1 || fail "no environment in $venv: $(tail -n 1 "$log")"
}

# Make .venv, or bring it up to date. One at a time; an install that was cut short starts from nothing.
install() {
    local python log="$venv/install.log"
    python="$(find_python)"
    mkdir -p "$venv" || fail "cannot write $venv"
    exec 9>"$venv/.lock"
    if command -v flock >/dev/null && ! flock -n 9; then
        echo "waiting for another ./run.sh that is installing" >&2
        flock 9
    fi
    if ! installed; then
        echo "installing the pinned packages into $venv (once; usually 3 to 10 minutes)" >&2
        make_environment "$python"
        # --no-compile: Python compiles what it imports; compiling all of it takes longer than fetching it.
        PYTHONUNBUFFERED=1 "$venv/bin/python" -m pip install --no-compile --disable-pip-version-check \
            --progress-bar off --require-hashes -r "$here/requirements.lock" 2>&1 | follow "$log" ||
            fail "the packages could not be installed: $(grep -i '^error' "$log" | tail -n 1) (all of it: $log)"
        wanted >"$stamp.part"
        mv "$stamp.part" "$stamp"
        echo "installed in $SECONDS s" >&2
    fi
    exec 9>&-
}

# Whether the words ask for more than text: train's settings, or a command that has a config.
runs_something() {
    [[ "${1:-}" == test || (" $* " != *" --help "* && " $* " != *" -h "*) ]] || return
    [[ "${1:-}" == *=* || "${1:-}" == -m || "${1:-}" == --multirun || "${1:-}" == test ]] ||
        [[ -n "${1:-}" && -f "$here/configs/$1.yaml" ]]
}

[[ "${1:-}" == --debug ]] && set -- "${@:2}" --debug
if ! runs_something "$@"; then
    python="$(find_any_python)"
elif [[ -n "${NUCLEI_PYTHON:-}" ]]; then
    command -v "$NUCLEI_PYTHON" >/dev/null || fail "NUCLEI_PYTHON is $NUCLEI_PYTHON, which cannot be run"
    python="$NUCLEI_PYTHON"
else
    installed || install
    python="$venv/bin/python"
fi
exec "$python" -m nuclei "$@"
