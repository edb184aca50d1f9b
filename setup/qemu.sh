#!/bin/sh
# Unpacks into the cache the QEMU versions that the tests and the benchmark want and that are not
# installed: 7.2 (Debian 12) and 10 (Debian 13, or the backports suite of Debian 12).
#
#   setup/qemu.sh            needs setup/packages.sh to have run; idempotent
#
# Result: CACHE/qemu/VERSION/{tree/,bin/qemu-system-x86_64,qemu.toml}. The description says what the
# binary must be given to find its own firmware, modules, and the libraries that the system lacks.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/say.sh"
. "$here/private-apt.sh"

# The version (such as 7.2.22) that a QEMU binary tells; nothing if it does not run.
version_of() {
    { "$@" --version 2>/dev/null || true; } | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'
}

library_path() {
    printf '%s' "$1/tree/usr/lib/x86_64-linux-gnu:$1/tree/lib/x86_64-linux-gnu"
}

# The directories of firmware and option ROMs, each after SEPARATOR.
firmware() {
    for directory in share/qemu share/seabios lib/ipxe/qemu; do
        printf '%s%s' "$2" "$1/tree/usr/$directory"
    done
}

# with_environment DIRECTORY COMMAND [ARGUMENT…]
with_environment() {
    (
        export LD_LIBRARY_PATH="$(library_path "$1")"
        export QEMU_MODULE_DIR="$1/tree/usr/lib/x86_64-linux-gnu/qemu"
        shift
        "$@"
    )
}

# Whether the cached QEMU in DIRECTORY makes a PC with a network card: its modules, its firmware and
# its option ROMs are then found.
runs() {
    # shellcheck disable=SC2046 # the cache's path is split at no space: see the check below
    test -f "$1/qemu.toml" && echo quit |
        with_environment "$1" "$1/bin/qemu-system-x86_64" $(firmware "$1" ' -L ') \
            -accel tcg -machine pc -S -nodefaults -display none -device virtio-net-pci \
            -monitor stdio >/dev/null 2>&1
}

# provide SERIES [APT-OPTION…]: makes sure that a QEMU of the series is installed or in the cache.
provide() {
    series=$1
    shift
    case $(version_of qemu-system-x86_64) in
    "$series".*) say "QEMU $series is installed" && return ;;
    esac
    place=$cache/qemu/$series
    if runs "$place"; then
        say "QEMU $series is in $place"
        return
    fi
    prepare_private_apt
    say "unpacking QEMU $series into $place"
    mkdir -p "$place/bin"
    unpack_closure "$place/tree" qemu-system-x86 "$@"
    ln -sfn ../tree/usr/bin/qemu-system-x86_64 "$place/bin/qemu-system-x86_64"
    describe "$place"
    runs "$place" || fail "QEMU $series in $place does not start: is $cache on a file system that may run programs?"
}

# Writes the description that the crate punctual-images reads.
describe() {
    version=$(with_environment "$1" version_of "$1/bin/qemu-system-x86_64")
    {
        printf 'version = "%s"\n' "$version"
        printf 'binary = "%s"\n' "$1/tree/usr/bin/qemu-system-x86_64"
        printf 'arguments = [%s]\n' "$(firmware "$1" ' -L ' | sed 's/ -L \([^ ]*\)/"-L", "\1", /g; s/, $//')"
        printf '\n[env]\n'
        printf 'LD_LIBRARY_PATH = "%s"\n' "$(library_path "$1")"
        printf 'QEMU_MODULE_DIR = "%s"\n' "$1/tree/usr/lib/x86_64-linux-gnu/qemu"
    } >"$1/qemu.toml"
}

case $cache in
*[[:space:]\"\\]*) fail "the cache's path '$cache' has a space or a quote in it: choose another with PUNCTUAL_CACHE" ;;
esac
case $debian in
12)
    provide 7.2
    provide 10 -t bookworm-backports
    ;;
*) test -n "$(version_of qemu-system-x86_64)" || provide 10 ;;
esac
