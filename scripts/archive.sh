# SPDX-License-Identifier: GPL-2.0-or-later
#
# A private apt for what the build only reads: QEMU's source, the guest's
# kernel, a newer meson. Its lists, cache and sources lie in build/apt; mirror
# and keyring are those of the machine's own Debian source, so that a local
# mirror, a proxy and a private key go on working and no host is named here.
# Sourced after lib.sh.

# A script that reads other suites sets its own of these three before it opens.
apt=$build/apt

. /etc/os-release
case $VERSION_ID in
12)
    # backports' kernel: trixie's kbuild tools need trixie's libc
    kernel_suite=bookworm-backports
    source_suites='bookworm-backports trixie'
    ;;
*)
    kernel_suite=trixie
    source_suites='trixie bookworm-backports'
    ;;
esac

# The machine's own Debian source: "REPO-URI FILE:ENTRY".
own_source() {
    apt-get "$@" indextargets \
        --format '$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI) $(SOURCESENTRY)' \
        'Created-By: Packages' 2>/dev/null |
        awk -v codename="$VERSION_CODENAME" \
            '$1 == "Debian" && $2 == codename && $3 == "main" { print $4, $5; exit }'
}

# source_options FILE:ENTRY: the options of that source that say whom to trust,
# as fields of a deb822 stanza.
source_options() {
    local file=${1%:*} entry=${1##*:}
    case $file in
    *.sources)
        # ENTRY counts stanzas
        sed '/^#/d' "$file" | awk -v n="$entry" '
            BEGIN { RS = ""; FS = "\n" }
            NR == n {
                for (i = 1; i <= NF; i++) {
                    if ($i !~ /^[ \t]/)
                        keep = tolower($i) ~ /^(signed-by|trusted|check-valid-until):/
                    if (keep)
                        print $i
                }
            }'
        ;;
    *)
        # ENTRY counts lines
        sed -n "${entry}p" "$file" | sed -n 's/^[^[]*\[\([^]]*\)\].*/\1/p' |
            tr ' ' '\n' | sed -n \
            -e 's/^signed-by=/Signed-By: /p' \
            -e 's/^trusted=/Trusted: /p' \
            -e 's/^check-valid-until=/Check-Valid-Until: /p'
        ;;
    esac
}

private_apt() {
    local tool=$1
    shift
    "$tool" -q -c "$apt/apt.conf" "$@"
}

# Write the configuration and fetch the indexes; they are good for a day, since
# a mirror forgets what an older one lists.
open_archive() {
    local own options suite

    [ -z "$(find "$apt/ready" -mtime -1 2>/dev/null)" ] || return 0
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,own/partial,sources.d}

    own=$(own_source)
    if [ -z "$own" ]; then
        # a machine without lists (most images come so)
        apt-get -q -o Dir::State::Lists="$apt/own" -o Dir::Cache="$apt/cache" \
            -o APT::Sandbox::User=root -o Acquire::http::Timeout=20 \
            -o Acquire::Languages=none update || true
        own=$(own_source -o Dir::State::Lists="$apt/own")
    fi
    [ -n "$own" ] ||
        die "apt has no usable Debian $VERSION_CODENAME source, or its mirror cannot be reached; check the network and that apt-get update works"
    options=$(source_options "${own#* }")

    # Hooks of the machine's configuration are for its own lists, not ours.
    put "$apt/apt.conf" <<END
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt/sources.d";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$apt/state";
Dir::State::Status "/dev/null";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
APT::Default-Release "";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
Acquire::Languages "none";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    {
        printf 'Types: deb\nTargets: Packages\nURIs: %s\nSuites: %s\nComponents: main\n' \
            "${own%% *}" "$kernel_suite"
        printf '%s\n' "$options" | sed '/^$/d'
        for suite in $source_suites; do
            printf '\nTypes: deb-src\nTargets: Sources\nURIs: %s\nSuites: %s\nComponents: main\n' \
                "${own%% *}" "$suite"
            printf '%s\n' "$options" | sed '/^$/d'
        done
    } | put "$apt/sources.d/debian.sources"

    # One suite that a mirror lacks is no failure: what is then not found says so.
    private_apt apt-get update || true
    private_apt apt-cache show linux-libc-dev >/dev/null 2>&1 ||
        die "Debian's $kernel_suite could not be read from ${own%% *}; check the network, and that this mirror carries $kernel_suite"
    touch "$apt/ready"
}

# fetch_debs DIR PACKAGE...: download these packages of the kernel's suites.
fetch_debs() {
    local dir=$1
    shift
    rm -rf "$dir.part"
    mkdir -p "$dir.part"
    (cd "$dir.part" && private_apt apt-get download "$@") ||
        die "$* could not be downloaded from $kernel_suite; check the network and run this again"
    rm -rf "$dir"
    mv "$dir.part" "$dir"
}
