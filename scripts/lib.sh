# Shared by the scripts of this folder: `. "$(dirname "$0")/lib.sh"`. Says what is done, runs as root when needed, installs packages.
# Defines functions only; starts nothing.

project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Progress goes to stderr: what a script prints on stdout is its answer (a URL, a table).
say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# as_root COMMAND…: runs it as it is for root, through sudo otherwise.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo -- "$@"
    else
        fail "this needs root, and there is no sudo: run as root: $*"
    fi
}

# command_exists NAME: also finds what lives in /usr/sbin, which is not on everybody's PATH.
command_exists() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

package_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_quiet() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 \
        --option Dpkg::Use-Pty=0 --option DPkg::Lock::Timeout=300 "$@" >&2
}

# install_packages PACKAGE…: installs what is missing, with one `apt-get update` when the first try fails. The service of a package is not
# started: what has to run is started by the scripts, by hand, so that they also work where no init runs.
install_packages() {
    local missing=() package
    for package in "$@"; do
        package_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command_exists apt-get || fail "please install: ${missing[*]} (this script knows only Debian's apt-get)"
    say "installing ${missing[*]}"
    if ! apt_quiet install --yes --no-install-recommends "${missing[@]}" 2>/dev/null; then
        # A foreign source that does not answer must not stop us: the install below tells.
        apt_quiet update || true
        apt_quiet install --yes --no-install-recommends "${missing[@]}" || fail "could not install ${missing[*]}"
    fi
}

# wait_for SECONDS COMMAND…: until the command succeeds; 1 when it does not in time.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -ge "$deadline" ] && return 1
        sleep 0.1
    done
}

# free_port: a TCP port on loopback that is free now.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s\n' "$port"
}
