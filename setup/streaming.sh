#!/bin/sh
# Makes the disk of the streaming guests: VLC, redis and nginx from the distribution's packages, a
# clip for VLC to stream, and files for nginx. `make streaming` calls it; tests do without it.
#
#   setup/streaming.sh       as root; idempotent; without network once the disk is there
#
# Result: CACHE/streaming/{disk.raw,busybox,streaming.toml}, some 800 MB. Nothing is installed: the
# packages go into a directory of their own, which becomes the disk. guests/README.md describes the
# machine.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/say.sh"
. "$here/private-apt.sh"
place=$cache/streaming
work=$place/work

# Raised whenever the disk becomes another one: then it is built anew.
recipe=1

# The servers; what /init and the clip are made with.
packages='vlc-bin,vlc-plugin-base,redis-server,nginx-light,busybox-static,ffmpeg'
clip_seconds=180

main() {
    if grep -qsx "recipe = $recipe" "$place/streaming.toml"; then
        say "the streaming guests' disk is in $place"
        return
    fi
    test "$(id -u)" = 0 || fail "the streaming guests' disk is made by root: run \`make streaming\` as root once"
    make_file_system=$(PATH=$PATH:/usr/sbin:/sbin command -v mke2fs) ||
        fail "mke2fs is missing: install the package e2fsprogs"
    prepare_private_apt
    rm -rf "$place"
    mkdir -p "$work"
    unpack_package "$work/mmdebstrap" mmdebstrap
    say "unpacking the servers into $place (some 200 MB to fetch, a minute or two)"
    unpack_servers "$work/root" >"$place/log" 2>&1 || fail "the servers could not be unpacked: see $place/log"
    say "making the clip: $clip_seconds s, 3.4 Mbit/s"
    make_clip "$work/root" >>"$place/log" 2>&1 || fail "ffmpeg could not make the clip: see $place/log"
    make_files "$work/root/srv"
    remove_ballast "$work/root"
    say "writing $place/disk.raw"
    cp "$work/root/bin/busybox" "$place/busybox"
    write_disk "$work/root" "$place/disk.raw"
    describe
    rm -rf "$work"
}

# unpack_servers ROOT: packages and what they need, configured, as a file system that could boot.
unpack_servers() {
    with_private_state apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | grep -v -- '-backports ' | sort -u >"$work/sources"
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    # How this system's apt reaches its mirrors, and how strict it is with dates.
    apt-config dump | grep -E '^Acquire::(Check-|http::|https::|Retries)' >"$work/apt.conf" || true
    perl "$work/mmdebstrap/usr/bin/mmdebstrap" --mode=root --variant=apt --include="$packages" \
        --aptopt="$work/apt.conf" "$codename" "$1" "$work/sources"
}

# make_clip ROOT: a test picture with so much noise that it fills its constant rate, and a tone.
make_clip() {
    chroot "$1" ffmpeg -nostdin -hide_banner -loglevel warning \
        -f lavfi -i testsrc2=size=640x360:rate=25 \
        -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000 -t "$clip_seconds" \
        -vf noise=alls=24:allf=t -pix_fmt yuv420p \
        -c:v libx264 -preset veryfast -g 50 -b:v 3M -minrate 3M -maxrate 3M -bufsize 1500k \
        -x264-params nal-hrd=cbr -c:a mp2 -b:a 128k -f mpegts /srv/clip.ts
}

# make_files DIRECTORY: 500 files of 4 to 256 KiB for nginx, pieces of the clip.
make_files() {
    mkdir "$1/files"
    number=0
    while test "$number" -lt 500; do
        dd if="$1/clip.ts" of="$1/files/$number" bs=4096 skip=$((number * 20)) \
            count=$((1 + number * number % 64)) status=none
        number=$((number + 1))
    done
}

# What no server reads.
remove_ballast() {
    rm -rf "$1/usr/share/doc" "$1/usr/share/man" "$1/usr/share/locale" "$1/usr/share/icons" \
        "$1/var/lib/apt/lists" "$1/var/cache/apt" "$1/tmp/"*
    mkdir -p "$1/tmp" "$1/var/lib/apt/lists"
}

# write_disk ROOT FILE: a file system without a journal, since no guest writes to it.
write_disk() {
    size=$(du -sm "$1" | cut -f 1)
    "$make_file_system" -q -t ext4 -O '^has_journal,^metadata_csum' -m 0 -d "$1" "$2.new" "$((size * 5 / 4))M" >>"$place/log"
    mv "$2.new" "$2"
}

# Writes the description that the crate punctual-images reads.
describe() {
    {
        printf 'recipe = %s\n' "$recipe"
        printf 'disk = "%s"\n' "$place/disk.raw"
        printf 'busybox = "%s"\n' "$place/busybox"
    } >"$place/streaming.toml.new"
    mv "$place/streaming.toml.new" "$place/streaming.toml"
}

main
