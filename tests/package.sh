#!/usr/bin/env bash
# Makes the Debian package and does with dpkg what an administrator does, with a systemd that runs and without one:
# install, upgrade under a connected client, roll back, a changed configuration file, remove, purge.
#
#   cargo build -p portcullis && tests/package.sh
#
# PORTCULLIS_BIN names the binary to pack; the default is the debug build. Needs root. Where no machine can be booted it
# prints NOT CHECKED and exits 0. The commands of docs/install.md and docs/upgrade.md run as they are written.
set -euo pipefail

. "$(dirname "$0")/machine.sh"

yaml=/etc/portcullis/portcullis.yaml

main() {
    export PORTCULLIS_BIN=${PORTCULLIS_BIN:-$target/debug/portcullis}
    [ -x "$PORTCULLIS_BIN" ] || fail "there is no $PORTCULLIS_BIN: cargo build -p portcullis"
    base_root
    command -v cargo-deb >/dev/null || cargo install --quiet --locked cargo-deb ||
        not_checked "cargo-deb cannot be fetched; the Debian package is NOT CHECKED"
    first=$("$top/deploy/debian/build.sh" --fast)
    contents
    without_systemd
    with_systemd
    echo "$checks checks of the package passed"
}

contents() {
    local list path
    list=$(dpkg-deb --contents "$first" | awk '{print $6}')
    for path in usr/bin/portcullis usr/share/man/man1/portcullis.1.gz usr/share/man/man1/portcullis-groups-add.1.gz \
        usr/share/bash-completion/completions/portcullis usr/share/zsh/vendor-completions/_portcullis \
        usr/share/fish/vendor_completions.d/portcullis.fish lib/systemd/system/portcullis.service \
        lib/systemd/system/portcullis.socket \
        usr/lib/sysusers.d/portcullis.conf usr/lib/tmpfiles.d/portcullis.conf etc/portcullis/portcullis.yaml \
        etc/logrotate.d/portcullis usr/share/doc/portcullis/README.md usr/share/doc/portcullis/docs/configuration.md \
        usr/share/doc/portcullis/examples/users.yaml usr/share/doc/portcullis/copyright; do
        grep -qxF "./$path" <<<"$list" || fail "the package has no $path"
    done
    dpkg-deb --field "$first" Depends | grep -q libc6 || fail "no dependency on the C library"
    passed "the package has its files: $(stat -c %s "$first") bytes"
}

# The same package as a later version, with changed configuration files.
later_version() {
    local tree=$scratch/later
    dpkg-deb --raw-extract "$first" "$tree"
    sed -i 's/^Version: .*/Version: 9.9.9-1/' "$tree/DEBIAN/control"
    rm -f "$tree/DEBIAN/md5sums"
    echo "# a line of the later version" >>"$tree$yaml"
    echo "# a line of the later version" >>"$tree/etc/logrotate.d/portcullis"
    second=$scratch/portcullis_9.9.9-1_amd64.deb
    dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$second" >/dev/null
}

# Commands in the root, with a network and processes of its own: nothing here may reach a process outside.
chrooted() { nsenter --target "$keeper" --net --pid --mount chroot "$root" "$@"; }

without_systemd() {
    new_root
    later_version
    unshare --net --pid --mount --fork --kill-child sh -c \
        "ip link set lo up && mount -t proc proc '$root/proc' && exec sleep 600" &
    pids+=($!)
    wait_for 10 keeper_is_up || not_checked "no network namespace can be made; the Debian package is NOT CHECKED"
    cp "$first" "$second" "$root/srv/"
    chrooted redis-server --port 6379 --save "" >"$scratch/redis" 2>&1 &
    chrooted dpkg --install "/srv/$(basename "$first")" >"$scratch/dpkg" 2>&1 || fail "dpkg: $(cat "$scratch/dpkg")"
    [ "$(chrooted stat -c %U:%a /var/log/portcullis)" = portcullis:750 ] || fail "no directory for the audit file"
    chrooted portcullis check --no-host --no-secrets >/dev/null 2>&1 || fail "the installed configuration is not valid"
    passed "without systemd: dpkg --install makes the user, the directories and a valid configuration"
    runs_in_foreground
    chrooted dpkg --remove portcullis >/dev/null 2>&1
    [ -e "$root$yaml" ] && [ ! -e "$root/usr/bin/portcullis" ] || fail "remove"
    chrooted dpkg --purge portcullis >/dev/null 2>&1
    nothing_is_left
    passed "without systemd: remove keeps the configuration, purge leaves nothing"
    end_processes
}

# The shell has become the sleep when all is set up.
keeper_is_up() { keeper=$(pgrep -P "${pids[0]}" -x sleep) && [ -n "$keeper" ]; }

runs_in_foreground() {
    local commands before
    chrooted portcullis groups add clients 127.0.0.1 >/dev/null
    # The proxy takes the place of the shell.
    commands=$(block install.md no-systemd | sed '$s/^/exec /')
    [ -n "$commands" ] || fail "docs/install.md has no block no-systemd"
    chrooted bash -euc "$commands" >"$scratch/gate" 2>&1 &
    gate=$!
    wait_for 20 chroot_pongs || fail "not served: $(cat "$scratch/gate")"
    passed "docs/install.md: no-systemd"
    chrooted timeout 60 redis-cli -p 6380 SUBSCRIBE news >"$scratch/subscriber" 2>&1 &
    client=$!
    wait_for 10 grep -q '^1' "$scratch/subscriber" || fail "the subscriber is not served"
    before=$(chrooted pgrep -x portcullis)
    chrooted dpkg --install --force-confdef --force-confold "/srv/$(basename "$second")" >"$scratch/dpkg" 2>&1 ||
        fail "dpkg: $(cat "$scratch/dpkg")"
    grep -q "the new version takes over from process $before" "$scratch/dpkg" || fail "dpkg: $(cat "$scratch/dpkg")"
    wait_for 10 has_successor || fail "the new version did not take over: $(cat "$scratch/gate" "$scratch/dpkg")"
    chroot_pongs || fail "the new version does not serve"
    [ "$(chrooted redis-cli PUBLISH news hello)" = 1 ] && wait_for 10 grep -q hello "$scratch/subscriber" ||
        fail "the upgrade closed a client"
    chrooted pkill -x redis-cli
    wait "$client" 2>/dev/null || true
    wait_for 20 has_drained || fail "the old process did not drain: $(cat "$scratch/gate")"
    wait "$gate" || fail "the old process ended with $?"
    [ "$(chrooted pgrep -x portcullis)" != "$before" ] && [ "$(chrooted pgrep -cx portcullis)" = 1 ] ||
        fail "processes: $(chrooted ps aux)"
    passed "without systemd: an upgrade replaces the process, and its client goes on"
    chrooted logrotate --force /etc/logrotate.d/portcullis || fail "logrotate"
    [ -s "$root/var/log/portcullis/audit.log.1" ] || fail "the audit file was not rotated"
    wait_for 10 writes_to_new_file || fail "no line in the new audit file"
    passed "logrotate: the proxy goes on in a new audit file"
    chrooted pkill -TERM -x portcullis
    wait_for 20 is_over || fail "the drain does not end"
    passed "SIGTERM ends it"
}

has_successor() { grep -q 'this process stops accepting' "$scratch/gate"; }
has_drained() { grep -q ' drained ' "$scratch/gate"; }
# The new process has the output of the old one.
is_over() { [ "$(grep -c ' drained ' "$scratch/gate")" = 2 ] && ! chroot_pongs; }
chroot_pongs() { [ "$(chrooted timeout 2 redis-cli -p 6380 PING 2>/dev/null)" = PONG ]; }
writes_to_new_file() { chroot_pongs && [ -s "$root/var/log/portcullis/audit.log" ]; }

# WHERE: a client that stays connected. `ask` sends it a command.
open_client() {
    rm -f "$scratch/commands"
    mkfifo "$scratch/commands"
    : >"$scratch/replies"
    "$1" redis-cli -p 6380 <"$scratch/commands" >"$scratch/replies" 2>&1 &
    client=$!
    exec 5>"$scratch/commands"
}

ask() {
    local lines
    lines=$(wc -l <"$scratch/replies")
    echo "$1" >&5
    wait_for 10 has_lines $((lines + 1)) || fail "no reply to $1: $(cat "$scratch/replies")"
    tail -n 1 "$scratch/replies"
}

has_lines() { [ "$(wc -l <"$scratch/replies")" -ge "$1" ]; }

close_client() {
    exec 5>&-
    wait "$client" 2>/dev/null || true
}

nothing_is_left() {
    local path
    for path in "$yaml" /var/log/portcullis /usr/bin/portcullis /etc/logrotate.d/portcullis \
        /etc/systemd/system/multi-user.target.wants/portcullis.service; do
        [ ! -e "$root$path" ] && [ ! -L "$root$path" ] || fail "purge left $path"
    done
}

with_systemd() {
    new_root
    # Questions have the default answer, and a changed configuration file stays: `apt-get` has no terminal here.
    printf '%s\n' 'APT::Get::Assume-Yes "true";' 'Dpkg::Options {"--force-confdef"; "--force-confold";}' \
        >"$root/etc/apt/apt.conf.d/99test"
    mkdir -p "$root/srv/first" "$root/srv/second" "$root/srv/second/old"
    cp "$first" "$root/srv/first/"
    cp "$first" "$root/srv/second/old/"
    cp "$second" "$root/srv/second/"
    boot
    installs
    upgrades
    removes
    halt
}

installs() {
    page_runs install.md install /srv/first
    [ "$(inside systemctl is-enabled portcullis)" = enabled ] || fail "not enabled"
    [ "$(inside redis-cli -p 6380 PING 2>&1)" = "DENIED source address not allowed" ] || fail "not refused by default"
    passed "installed: enabled, active, and it refuses every client"
    page_runs install.md first-steps /srv/first
    inside portcullis groups add clients 127.0.0.1 >/dev/null
    wait_for 10 pongs 127.0.0.1 6380 || fail "an admitted client is not served"
    page_runs install.md credential /srv/first
    awk '/^# file: portcullis.yaml/ {inside = 1} /^```/ {inside = 0} inside' "$top/docs/install.md" >"$root$yaml"
    inside redis-cli CONFIG SET requirepass "the password of your Redis" >/dev/null
    inside portcullis groups add clients 127.0.0.1 >/dev/null
    inside systemctl restart portcullis
    wait_for 10 pongs 127.0.0.1 6380 || fail "not served with the credential of docs/install.md"
    passed "docs/install.md: its configuration with the password of Redis"
}

upgrades() {
    local before pid
    pid=$(property MainPID)
    open_client inside
    ask PING >/dev/null
    page_runs upgrade.md check-before /srv/second
    page_runs upgrade.md upgrade /srv/second
    grep -q 'still has the version 0' "$scratch/output" || fail "the upgrade does not say that the old process runs"
    has_property MainPID "$pid" && [ "$(ask PING)" = PONG ] || fail "the upgrade disturbed the service"
    close_client
    passed "an upgrade leaves the process and its clients alone, and says so"
    ! grep -q "later version" "$root$yaml" || fail "the administrator's configuration was replaced"
    [ -e "$root$yaml.dpkg-dist" ] || fail "no $yaml.dpkg-dist"
    grep -q "later version" "$root/etc/logrotate.d/portcullis" || fail "an unchanged configuration file was kept"
    passed "a changed configuration file stays, an unchanged one is replaced"
    page_runs upgrade.md restart /srv/second
    ! has_property MainPID "$pid" && pongs 127.0.0.1 6380 || fail "the new version does not serve"
    page_runs upgrade.md roll-back /srv/second
    [ "$(inside dpkg-query --show -f '${Version}' portcullis)" != 9.9.9-1 ] || fail "not rolled back"
    pongs 127.0.0.1 6380 || fail "the old version does not serve"
    passed "rolled back"
}

removes() {
    inside apt-get --quiet=2 remove portcullis >/dev/null
    ! inside systemctl is-active --quiet portcullis || fail "it runs after remove"
    [ -e "$root$yaml" ] && [ ! -e "$root/usr/bin/portcullis" ] || fail "remove"
    inside apt-get --quiet=2 install "/srv/first/$(basename "$first")" >/dev/null
    wait_for 20 pongs 127.0.0.1 6380 || fail "installed again, it does not serve with the kept configuration"
    passed "removed and installed again: it serves with the configuration that was kept"
    rm -f "$root$yaml.dpkg-dist"
    inside apt-get --quiet=2 purge portcullis >/dev/null
    nothing_is_left
    [ -e "$root/etc/portcullis/redis-password" ] || fail "purge removed a file of the administrator"
    ! inside systemctl cat portcullis >/dev/null 2>&1 || inside systemctl cat portcullis | grep -q credentials ||
        fail "the unit is left"
    passed "purged: only the administrator's own files are left"
}

main "$@"
