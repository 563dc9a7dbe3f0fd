#!/usr/bin/env bash
# Builds the image of deploy/container with buildah, and runs it with a read-only root as its user: default, health check,
# a client, the drain. Then the compose file is read by compose-spec, which refuses unknown keys and names.
#
#   cargo build -p portcullis && tests/container.sh
#
# No image can be fetched, so both images that the Containerfile begins with are a Debian root made by debootstrap. In
# the first, `cargo` copies the binary that is there already (PORTCULLIS_BIN, or the debug build). So all of the file is
# tried but the compiler. Needs root. Where it cannot run, it prints NOT CHECKED and exits 0.
set -euo pipefail

. "$(dirname "$0")/machine.sh"

binary=${PORTCULLIS_BIN:-$target/debug/portcullis}

main() {
    [ -x "$binary" ] || fail "there is no $binary: cargo build -p portcullis"
    base_root
    command -v buildah >/dev/null || (install_packages buildah) ||
        not_checked "buildah cannot be installed; the container image is NOT CHECKED"
    new_root
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    # All layers are in memory, and gone afterwards.
    storage=(--root "$(dirname "$root")/storage" --runroot "$scratch/run")
    images
    built
    started
    compose_file
    echo "$checks checks of the container passed"
}

bud() { buildah "${storage[@]}" bud --quiet "$@"; }

# The images that the build begins with. The small one has the C library only, as the real one.
images() {
    local context=$scratch/images
    mkdir -p "$context"
    tar -C "$base" --exclude=./var/cache --exclude=./usr/share --exclude=./boot -cf "$context/root.tar" .
    cp "$binary" "$context/portcullis"
    printf '#!/bin/sh\nset -e\nmkdir -p target/release\ncp /prebuilt target/release/portcullis\n' >"$context/cargo"
    printf '#!/bin/sh\n# Stripped already: the binutils are not in this image.\ncp "$3" "$2"\n' >"$context/strip"
    chmod 755 "$context/cargo" "$context/strip"
    strip -o "$context/prebuilt" "$context/portcullis"
    rm "$context/portcullis"
    mkdir -p "$context/certs"
    echo "# certificates" >"$context/certs/ca-certificates.crt"
    printf 'FROM scratch\nADD root.tar /\n' >"$context/runtime"
    printf 'FROM localhost/runtime\nCOPY cargo strip /usr/bin/\nCOPY prebuilt /prebuilt\nCOPY certs /etc/ssl/certs\n' >"$context/build"
    bud -f "$context/runtime" -t localhost/runtime "$context" >"$scratch/log" 2>&1 ||
        not_checked "buildah cannot build here ($(tail -n 1 "$scratch/log")); the container image is NOT CHECKED"
    bud -f "$context/build" -t localhost/build "$context" >/dev/null
}

built() {
    bud -f "$top/deploy/container/Containerfile" --build-arg BUILD=localhost/build --build-arg RUNTIME=localhost/runtime \
        -t localhost/portcullis "$top" >"$scratch/log" 2>&1 || fail "build: $(tail -n 5 "$scratch/log")"
    [ "$(of_image '{{.OCIv1.Config.User}}')" = 65532:65532 ] || fail "user: $(of_image '{{.OCIv1.Config.User}}')"
    [ "$(of_image '{{index .OCIv1.Config.Entrypoint 0}} {{index .OCIv1.Config.Cmd 0}}')" = "/usr/bin/portcullis run" ] ||
        fail "command: $(of_image '{{.OCIv1.Config}}')"
    container=$(buildah "${storage[@]}" from localhost/portcullis)
    image=$(buildah "${storage[@]}" mount "$container")
    [ -x "$image/usr/bin/portcullis" ] || fail "no binary"
    [ -e "$image/etc/ssl/certs/ca-certificates.crt" ] || fail "no CA certificates"
    [ ! -e "$image/src" ] && [ ! -e "$image/usr/bin/cargo" ] || fail "the image has the source or the compiler"
    passed "buildah builds deploy/container/Containerfile: user $(of_image '{{.OCIv1.Config.User}}'), without the source"
}

of_image() { buildah "${storage[@]}" inspect --type image --format "$1" localhost/portcullis; }

started() {
    mkdir -p "$scratch/gate"
    cp "$top/deploy/container/gate/portcullis.yaml" "$scratch/gate/"
    echo secret-of-the-container >"$scratch/redis-password"
    chmod 644 "$scratch/redis-password"
    mkdir -p "$image/etc/portcullis" "$image/run/secrets"
    unshare --net --pid --mount --fork --kill-child sh -euc "
        ip link set lo up
        mount --rbind '$image' '$image'
        mount --bind '$scratch/gate' '$image/etc/portcullis'
        mkdir -p '$image/run/secrets' && cp '$scratch/redis-password' '$image/run/secrets/'
        mount -t proc proc '$image/proc'
        mount -o remount,bind,ro '$image'
        exec sleep 600" &
    pids+=($!)
    wait_for 10 keeper_is_up || not_checked "no namespaces can be made; the container is NOT CHECKED"
    as_root_inside redis-server --port 6379 --requirepass secret-of-the-container --save "" >"$scratch/redis" 2>&1 &
    # `redis` is a name of the network of compose.
    sed -i 's/redis:6379/127.0.0.1:6379/; s/0.0.0.0:6379/0.0.0.0:6380/; s#203.0.113.0/24#127.0.0.1#' "$scratch/gate/portcullis.yaml"
    as_user /usr/bin/portcullis run >"$scratch/gate.out" 2>"$scratch/gate.err" &
    gate=$!
    wait_for 20 contained_pongs || fail "not served: $(cat "$scratch/gate.err")"
    passed "it serves as the user 65532, without capabilities, with a read-only root"
    ! as_user /usr/bin/touch /tmp/x 2>/dev/null || fail "the root is not read-only"
    as_user /usr/bin/portcullis ready --live >/dev/null || fail "the health check fails"
    wait_for 10 as_user /usr/bin/portcullis ready || fail "not ready"
    passed "the health check of the image: portcullis ready --live"
    as_user /usr/bin/portcullis check --no-host >/dev/null 2>&1 || fail "check"
    sed -i 's/clients: \[127.0.0.1\]/clients: [127.0.0.1, 192.0.2.1]/' "$scratch/gate/portcullis.yaml"
    wait_for 10 grep -q 'reload applied trigger=watch' "$scratch/gate.err" || fail "no reload of the mounted file"
    passed "a changed file of the mounted directory is applied"
    as_root_inside /usr/bin/pkill -TERM -x portcullis
    wait "$gate" || fail "SIGTERM: exit $?"
    passed "SIGTERM drains: exit 0"
}

keeper_is_up() { keeper=$(pgrep -P "${pids[0]}" -x sleep) && [ -n "$keeper" ]; }
# Processes of the container: a network of their own, and the mounts of `started`.
as_root_inside() { nsenter --target "$keeper" --net --pid --mount chroot "$image" "$@"; }
# The same as the user of the image, without capabilities.
as_user() {
    nsenter --target "$keeper" --net --pid --mount chroot "$image" /usr/bin/setpriv --bounding-set=-all --inh-caps=-all \
        --no-new-privs --reuid 65532 --regid 65532 --clear-groups \
        env PORTCULLIS_CONFIG=/etc/portcullis/portcullis.yaml "$@"
}
contained_pongs() { [ "$(as_root_inside timeout 2 redis-cli -p 6380 PING 2>/dev/null)" = PONG ]; }

compose_file() {
    local python=$target/compose/bin/python
    if [ ! -x "$python" ]; then
        python3 -m venv "$target/compose" && "$python" -m pip install --quiet --disable-pip-version-check compose-spec==0.2.1 ||
            { echo "NOT CHECKED: compose-spec cannot be fetched; compose.yaml is NOT CHECKED"; return; }
    fi
    "$python" - "$top/deploy/container/compose.yaml" <<'PYTHON'
import sys
from compose_spec import PyCompose
text = open(sys.argv[1]).read()
PyCompose.from_yaml(text).validate()
for wrong in (text.replace("read_only:", "readonly:"), text.replace("networks: [inner]", "networks: [iner]")):
    try:
        PyCompose.from_yaml(wrong).validate()
    except Exception:
        continue
    sys.exit("compose-spec accepts a wrong file")
PYTHON
    passed "compose-spec accepts compose.yaml, and refuses it with an unknown key or network"
}

main "$@"
