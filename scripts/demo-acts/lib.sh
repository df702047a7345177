# Shared by `scripts/demo` and its acts: how the play is narrated, who plays, how it is cleaned up after. Defines functions only.

# --- narration -------------------------------------------------------------------------------------------------------------------------

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold="" dim="" green="" red="" plain=""; fi
act=0
millis() { date +%s%3N; }
started=$(millis)

title() {
    act=$((act + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$act" "$*" "$plain"
}
tell() { printf '   %s\n' "$*"; }
# The command as one would type it; `docker_alice` is Docker as Alice.
shown() {
    local word line="" who=""
    for word in "$@"; do
        case "$word" in
            docker_*) who="${word#docker_}" word=docker ;;
            berth_there) word=berth ;;
            registry_says) word=curl ;;
            *[\ \*\;]*) [ $# -eq 1 ] || word="'$word'" ;;
        esac
        line="$line $word"
    done
    printf '   %s%s$%s%s\n' "$dim" "$who" "$line" "$plain"
}
good() { printf '   %sok%s %s\n' "$green" "$plain" "$*"; }
# Since the given moment, in seconds with tenths.
since() { awk -v from="$1" -v to="$(millis)" 'BEGIN { printf "%.1f s", (to - from) / 1000 }'; }
indent() { sed 's/^/   | /'; }

broken() {
    printf '   %sFAILED%s %s\n' "$red" "$plain" "$*"
    if [ -f "$folder/log" ]; then
        printf '   the end of the log of berth up:\n'
        tail --lines 30 "$folder/log" | indent
    fi
    exit 1
}

# must COMMAND…: shows it, runs it, shows what it said; it has to succeed.
must() {
    shown "$@"
    "$@" >"$folder/said" 2>&1 || { indent <"$folder/said"; broken "$1 ended with $?"; }
    indent <"$folder/said"
}

# must_fail WORDS COMMAND…: it has to be refused, in words that match the pattern.
must_fail() {
    local words=$1
    shift
    shown "$@"
    if "$@" >"$folder/said" 2>&1; then
        indent <"$folder/said"
        broken "this should have been refused"
    fi
    indent <"$folder/said"
    grep --quiet --extended-regexp --ignore-case "$words" "$folder/said" || broken "refused, but not in words like: $words"
}

# must_end CODE COMMAND…: it has to end with just this exit code.
must_end() {
    local code=$1 ended=0
    shift
    shown "$@"
    "$@" >"$folder/said" 2>&1 || ended=$?
    indent <"$folder/said"
    [ "$ended" -eq "$code" ] || broken "this should have ended with $code, not $ended"
}

# --- the players -----------------------------------------------------------------------------------------------------------------------

# The command line, with the context that `berth up` wrote into the demo's own home.
berth() { env HOME="$folder/home" XDG_CONFIG_HOME="$folder/home/.config" "$binary" "$@"; }
# Docker as one person: each has own logins.
docker_alice() { DOCKER_CONFIG="$folder/docker-alice" docker "$@"; }
docker_bob() { DOCKER_CONFIG="$folder/docker-bob" docker "$@"; }
docker_carol() { DOCKER_CONFIG="$folder/docker-carol" docker "$@"; }

# log_in PERSON: with docker, by password.
log_in() {
    shown "docker_$1" login "$host" --username "$1" --password-stdin
    "docker_$1" login "$host" --username "$1" --password-stdin <<<"$1-has-a-password" >"$folder/said" 2>&1 || broken "$(cat "$folder/said")"
}

ready() { curl --silent --fail --max-time 2 "http://$host/readyz"; }
# The process that `berth up` supervises, by its subcommand.
child() { pgrep --parent "$up_pid" --full "^$binary $1( |\$)" | head -n 1; }
containers() {
    docker ps --quiet --no-trunc --filter "label=io.berth.control-plane=$control_plane" --filter "label=io.berth.group=service:web" | sort
}
urls() { containers | xargs --no-run-if-empty docker inspect --format '{{range $k, $v := .NetworkSettings.Ports}}{{range $v}}http://127.0.0.1:{{.HostPort}}/{{println}}{{end}}{{end}}' | grep http | sort --unique; }
running_are() { [ "$(containers | wc -l)" -eq "$1" ]; }
replaced() { running_are 3 && ! containers | grep --quiet "$killed"; }

# --- cleaning up -----------------------------------------------------------------------------------------------------------------------

identity_of() { sed -n 's/.*"control_plane_id" *: *"\([^"]*\)".*/\1/p' "$1/data/agent/identity.json" 2>/dev/null; }

# clean FOLDER: everything that one play made: its processes by id, its containers by label, its images by name, the folder.
clean() {
    local folder=$1 pid id image plane host
    for pid in $(cat "$folder/registry-pid" "$folder/pid" 2>/dev/null); do
        grep --quiet --null-data --text --fixed-strings "$folder" "/proc/$pid/cmdline" 2>/dev/null || continue
        kill -TERM "$pid" 2>/dev/null || true
        wait_for 15 gone "$pid" || { pkill -KILL --parent "$pid" || true; kill -KILL "$pid" 2>/dev/null || true; }
    done
    # After the server, whose agents reach it on that network.
    as_root scripts/second-host down second || true
    plane=$(identity_of "$folder")
    if [ -n "$plane" ]; then
        for id in $(docker ps --all --quiet --filter "label=io.berth.control-plane=$plane"); do
            docker rm --force --volumes "$id" >/dev/null 2>&1 || true
        done
    fi
    # What people pulled by the server's name, and the agent through its relay.
    for host in $(cat "$folder/host" 2>/dev/null) 127.0.0.1:$(cat "$folder/data/agent/relay-port" 2>/dev/null); do
        for image in $(docker images --digests --format '{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}' | tr ' ' '\n' | grep "^$host/" | grep --invert-match '<none>'); do
            docker rmi --force "$image" >/dev/null 2>&1 || true
        done
    done
    rm --recursive --force "$folder"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
