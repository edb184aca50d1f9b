# Sourced by the scripts of this directory: where the cache is, which Debian this is, and how they
# speak.
# shellcheck shell=sh

cache=${PUNCTUAL_CACHE:-${HOME:?HOME is not set: say where the cache belongs with PUNCTUAL_CACHE}/.cache/punctual}

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# Whether apt knows PACKAGE as installed.
is_installed() {
    test "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed
}

# The number of the Debian release, such as 12.
debian=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")

# The QEMU series of this Debian release, as the cache's directories are called.
distribution_series() {
    case $debian in
    12) echo 7.2 ;;
    *) echo 10 ;;
    esac
}
