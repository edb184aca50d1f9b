#!/bin/sh
# Unpacks the distribution's cloud kernel into the cache; nothing is installed.
#
#   setup/kernel.sh          idempotent; a kernel that is there is kept
#
# Result: CACHE/kernel/{tree/,kernel.toml}, which names the version, the image and the modules.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/say.sh"
. "$here/private-apt.sh"
place=$cache/kernel

if test -f "$place/kernel.toml"; then
    say "the guests' kernel is in $place"
    exit 0
fi
prepare_private_apt
mkdir -p "$place"
say "unpacking the guests' kernel into $place"

# The metapackage depends on the package that holds the current kernel.
package=$(with_private_state apt-cache depends linux-image-cloud-amd64 |
    sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
test -n "$package" || fail "apt knows no linux-image-cloud-amd64: are Debian's main sources for amd64 configured?"
unpack_package "$place/tree" "$package"

image=$(find "$place/tree/boot" -name 'vmlinuz-*' | head -n 1)
version=${image##*/vmlinuz-}
modules=$(find "$place/tree" -type d -path "*/lib/modules/$version" | head -n 1)
test -n "$modules" || fail "$package holds no modules for kernel $version"
{
    printf 'version = "%s"\n' "$version"
    printf 'image = "%s"\n' "$image"
    printf 'modules = "%s"\n' "$modules"
} >"$place/kernel.toml.new"
mv "$place/kernel.toml.new" "$place/kernel.toml"
