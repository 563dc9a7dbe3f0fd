#!/usr/bin/env bash
# Makes the RPM package and does with rpm what an administrator does, under a systemd that runs: install, upgrade under a
# connected client, roll back, erase.
#
#   cargo build -p portcullis && tests/rpm.sh
#
# PORTCULLIS_BIN names the binary to pack; the default is the debug build. Needs root. The machine is Debian's with
# Debian's rpm, so dependencies are not resolved: dnf and a Red Hat system were not tried. Where no machine can be booted
# it prints NOT CHECKED and exits 0.
set -euo pipefail

. "$(dirname "$0")/machine.sh"

yaml=/etc/portcullis/portcullis.yaml

main() {
    export PORTCULLIS_BIN=${PORTCULLIS_BIN:-$target/debug/portcullis}
    [ -x "$PORTCULLIS_BIN" ] || fail "there is no $PORTCULLIS_BIN: cargo build -p portcullis"
    base_root
    command -v cargo-generate-rpm >/dev/null || cargo install --quiet --locked cargo-generate-rpm ||
        not_checked "cargo-generate-rpm cannot be fetched; the RPM package is NOT CHECKED"
    install_missing rpm rpm
    first=$("$top/deploy/rpm/build.sh")
    contents
    new_root
    mkdir -p "$root/srv/first" "$root/srv/second/old"
    cp "$first" "$root/srv/first/"
    cp "$first" "$root/srv/second/old/"
    second=$("$top/deploy/rpm/build.sh" --set-metadata 'version = "9.9.9"')
    cp "$second" "$root/srv/second/"
    get_rpm
    boot
    installs
    upgrades
    erases
    halt
    echo "$checks checks of the RPM package passed"
}

contents() {
    local list path
    list=$(rpm --query --package --list "$first" 2>/dev/null)
    for path in /usr/bin/portcullis /usr/share/man/man1/portcullis.1.gz /usr/lib/systemd/system/portcullis.service \
        /usr/share/bash-completion/completions/portcullis /usr/share/zsh/site-functions/_portcullis \
        /usr/share/fish/vendor_completions.d/portcullis.fish /usr/lib/sysusers.d/portcullis.conf \
        /usr/lib/tmpfiles.d/portcullis.conf /usr/share/doc/portcullis/docs/configuration.md \
        /usr/share/doc/portcullis/examples/users.yaml /usr/share/licenses/portcullis/LICENSE "$yaml"; do
        grep -qxF "$path" <<<"$list" || fail "the package has no $path"
    done
    list=$(rpm --query --package --configfiles "$first" 2>/dev/null)
    [ "$list" = "$(printf '%s\n' /etc/logrotate.d/portcullis "$yaml")" ] || fail "other configuration files: $list"
    list=$(rpm --query --package --requires "$first" 2>/dev/null)
    grep -q '^libc.so.6(GLIBC_' <<<"$list" || fail "no dependency on the C library: $list"
    passed "the package has its files: $(stat -c %s "$first") bytes"
}

# The machine has no network, so it gets rpm before it is booted.
get_rpm() {
    { cp /etc/resolv.conf "$root/etc/resolv.conf" && chroot "$root" sh -c \
        'apt-get -qq update && apt-get -qq install -y --no-install-recommends rpm'; } >"$scratch/apt" 2>&1 ||
        not_checked "rpm cannot be installed in the machine ($(tail -n 1 "$scratch/apt")); the RPM package is NOT CHECKED"
}

# PAGE NAME DIRECTORY: runs a block of a page. rpm takes the place of dnf, which Debian's rpm database cannot serve.
rpm_page_runs() {
    local commands
    commands=$(block "$1" "$2" | sed -e 's/^dnf install /rpm --upgrade --nodeps /' \
        -e 's/^dnf downgrade /rpm --upgrade --oldpackage --nodeps /' -e 's/^dnf remove /rpm --erase /')
    [ -n "$commands" ] || fail "docs/$1 has no block $2"
    inside bash -euc "cd $3; $commands" >"$scratch/output" 2>&1 ||
        fail "docs/$1, $2: $commands: $(cat "$scratch/output")"
    passed "docs/$1: $2"
}

installs() {
    rpm_page_runs install.md rpm-install /srv/first
    wait_for 10 refuses || fail "not refused by default"
    [ "$(inside stat -c %U:%a /var/log/portcullis)" = portcullis:750 ] || fail "no directory for the audit file"
    passed "installed: active, and it refuses every client"
    inside portcullis groups add clients 127.0.0.1 >/dev/null
    wait_for 10 pongs 127.0.0.1 6380 || fail "an admitted client is not served"
}

refuses() { [ "$(inside redis-cli -p 6380 PING 2>&1)" = "DENIED source address not allowed" ]; }

upgrades() {
    local pid before
    pid=$(property MainPID)
    rpm_page_runs upgrade.md rpm-upgrade /srv/second
    grep -q 'still has the version before' "$scratch/output" || fail "the upgrade does not say that the old process runs"
    has_property MainPID "$pid" || fail "the upgrade disturbed the service"
    before=$(sha256sum <"$root$yaml")
    passed "an upgrade leaves the process alone, and says so"
    inside systemctl restart portcullis
    wait_for 10 pongs 127.0.0.1 6380 || fail "the new version does not serve"
    rpm_page_runs upgrade.md rpm-roll-back /srv/second
    [ "$(inside rpm --query --queryformat '%{VERSION}' portcullis)" != 9.9.9 ] || fail "not rolled back"
    wait_for 10 pongs 127.0.0.1 6380 || fail "the old version does not serve"
    [ "$(sha256sum <"$root$yaml")" = "$before" ] || fail "the administrator's configuration was replaced"
    passed "rolled back, with the administrator's configuration"
}

erases() {
    rpm_page_runs install.md rpm-remove /
    ! inside systemctl is-active --quiet portcullis || fail "it runs after its removal"
    [ ! -e "$root/usr/bin/portcullis" ] && [ -e "$root$yaml.rpmsave" ] || fail "the changed configuration is not kept"
    passed "erased: the service has stopped, and the changed configuration is kept"
}

main "$@"
