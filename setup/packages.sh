#!/bin/sh
# Everything that a Debian 12 or 13 machine with a Rust toolchain still needs: `make setup`.
#
#   setup/packages.sh        idempotent; quick, and without network, once everything is there
#
# Installs system packages where they are missing (as root), and never removes or downgrades one:
# what cannot be installed beside the others, and what belongs on no system (another QEMU, the
# guests' kernel), is unpacked into a cache: PUNCTUAL_CACHE, else ~/.cache/punctual.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/say.sh"

# What the build and the tests call: a linker and an assembler, ip, tc, and programs that unpack.
needed='gcc libc6-dev binutils make iproute2 iperf3 xz-utils zstd debian-archive-keyring'

main() {
    if ! test -f /etc/debian_version || test "$(uname -m)" != x86_64; then
        fail "only Debian 12 and 13 on x86_64 are known; elsewhere install yourself: $needed qemu-system-x86"
    fi
    install_needed
    install_qemu
    sh "$here/qemu.sh"
    sh "$here/kernel.sh"
    say "everything is there"
}

install_needed() {
    missing=
    for package in $needed; do
        is_installed "$package" || missing="$missing $package"
    done
    if test -z "$missing"; then return; fi
    is_root || fail "to be installed:$missing; run \`make setup\` as root once"
    update_lists
    say "installing$missing"
    # shellcheck disable=SC2086 # a list of names
    install $missing || fail "apt could not install$missing: see its message above"
}

# QEMU is installed where that changes nothing else; where it would (a part of another QEMU is
# installed), or where nothing may be installed, setup/qemu.sh unpacks it into the cache.
install_qemu() {
    if is_installed qemu-system-x86; then return; fi
    if test -f "$cache/qemu/$(distribution_series)/qemu.toml"; then return; fi
    if ! is_root; then
        say "not root: qemu-system-x86 is not installed; it goes into $cache"
        return
    fi
    update_lists
    if install --simulate qemu-system-x86 >/dev/null 2>&1; then
        say "installing qemu-system-x86"
        install qemu-system-x86 || fail "apt could not install qemu-system-x86: see its message above"
    else
        say "qemu-system-x86 does not fit beside the installed packages; it goes into $cache"
    fi
}

is_root() { test "$(id -u)" = 0; }

# apt-get install that only ever adds.
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        --no-remove --no-upgrade "$@"
}

# Fetches the package lists, at most once a run.
update_lists() {
    if test -n "${lists_are_new:-}"; then return; fi
    say "updating the package lists"
    apt-get update --quiet=2 || fail "apt-get update failed: check the network and apt's sources"
    lists_are_new=yes
}

main
