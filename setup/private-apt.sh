# Sourced: apt with state, lists and sources of its own, so that packages can be downloaded (never
# installed) without touching the system's. Signatures are checked as always; the addresses come
# from the system's own apt configuration.
# shellcheck shell=sh

private=$cache/apt

# with_private_state COMMAND [ARGUMENT…]: one of apt's programs on the private state.
with_private_state() {
    program=$1
    shift
    "$program" --quiet=2 \
        -o "Dir::State=$private/state" \
        -o "Dir::State::status=$private/status" \
        -o "Dir::Cache=$private/cache" \
        -o "Dir::Etc::sourcelist=$private/sources.list" \
        -o "Dir::Etc::sourceparts=$private/sources.list.d" \
        -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=/dev/null" \
        -o "APT::Update::Post-Invoke=" -o "APT::Update::Post-Invoke-Success=" \
        -o "APT::Sandbox::User=root" \
        "$@"
}

# Copies the system's sources, adds the backports suite on Debian 12, and fetches the lists once.
# The lists are fetched again when they are older than a day.
prepare_private_apt() {
    mkdir -p "$private/state/lists/partial" "$private/cache/archives/partial"
    write_private_status
    if test -n "$(find "$private/fetched" -mmin -1440 2>/dev/null)"; then return; fi
    rm -rf "$private/sources.list" "$private/sources.list.d"
    mkdir "$private/sources.list.d"
    if test -f /etc/apt/sources.list; then cp /etc/apt/sources.list "$private/sources.list"; fi
    for file in /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if test -f "$file"; then cp "$file" "$private/sources.list.d/"; fi
    done
    if test "$debian" = 12; then write_backports_source; fi
    say "fetching package lists into $private"
    with_private_state apt-get update || fail "the package lists could not be fetched: check the network and apt's sources"
    touch "$private/fetched"
}

# What is installed, without QEMU and its firmware: apt then downloads those, and those libraries
# that the system lacks.
write_private_status() {
    awk 'BEGIN { RS = ""; ORS = "\n\n" } !/^Package: (qemu-|seabios\n|ipxe-qemu\n)/' \
        /var/lib/dpkg/status >"$private/status"
}

# The backports suite lives on the mirror that already serves the release.
write_backports_source() {
    mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' 'Label: Debian' |
        awk '$1 == "bookworm" && $2 == "main" { print $3; exit }')
    test -n "$mirror" || fail "apt's sources name no mirror of bookworm: add one, run apt-get update, and repeat"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    test -f "$keyring" || fail "$keyring is missing: install the package debian-archive-keyring"
    {
        printf 'Types: deb\nURIs: %s\n' "$mirror"
        printf 'Suites: bookworm-backports\nComponents: main\nSigned-By: %s\n' "$keyring"
    } >"$private/sources.list.d/punctual-backports.sources"
}

# unpack_closure DIRECTORY PACKAGE [-t SUITE]: downloads the package and what it needs beyond the
# installed, and unpacks them all into a new DIRECTORY.
unpack_closure() {
    tree=$1
    shift
    rm -rf "$private/cache/archives"
    mkdir -p "$private/cache/archives/partial"
    with_private_state apt-get install --yes --no-install-recommends --download-only "$@" ||
        fail "apt could not download: $*"
    extract_archives "$private/cache/archives" "$tree"
}

# unpack_package DIRECTORY PACKAGE: downloads just this package and unpacks it into a new DIRECTORY.
unpack_package() {
    rm -rf "$private/cache/single"
    mkdir -p "$private/cache/single"
    (cd "$private/cache/single" && with_private_state apt-get download "$2") ||
        fail "apt could not download: $2"
    extract_archives "$private/cache/single" "$1"
}

# extract_archives FROM TREE: replaces TREE by the contents of all packages in FROM, then deletes FROM.
extract_archives() {
    rm -rf "$2.new"
    mkdir -p "$2.new"
    for archive in "$1"/*.deb; do
        dpkg-deb --extract "$archive" "$2.new"
    done
    rm -rf "$1" "$2"
    mv "$2.new" "$2"
}
