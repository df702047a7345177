# The acts with a second Docker host: it joins, takes its share, is cut off, comes back, and is taken out again. It is a network namespace of
# this machine with an engine and an agent of its own. Defines functions only.

second_host() { BERTH_BIN="$binary" scripts/second-host "$@"; }
containers_there() {
    docker --host "unix://$second" ps --quiet --no-trunc --filter "label=io.berth.control-plane=$control_plane" \
        --filter "label=io.berth.group=service:web" | sort
}
everywhere() { echo $(($(containers | wc -l) + $(containers_there | wc -l))); }

# Tasks here and there.
share_is() { [ "$(containers | wc -l)" -eq "$1" ] && [ "$(containers_there | wc -l)" -eq "$2" ]; }

hosts() {
    title "A second host joins, with an engine of its own, and takes its share"
    local token from
    token=$(berth join-token create --quiet)
    shown "berth agent join https://$agents --token … --name second --zone second    # on the other host"
    from=$(millis)
    second=$(second_host up second "https://$agents" "$token" --zone second)
    wait_for 30 connected second || broken "the second host did not join: $(second_host agent-log second | tail --lines 5)"
    good "joined in $(since "$from")"
    must berth instances
    must berth service scale web 6 --wait
    share_is 3 3 || broken "three tasks on each host, not $(containers | wc -l) and $(containers_there | wc -l)"
    good "three tasks here, three there"

    title "The second host is cut off: its tasks are replaced here"
    shown "ip link set … down"
    from=$(millis)
    second_host cut second
    wait_for 60 running_are 6 || broken "the tasks were not replaced"
    good "six tasks here, $(since "$from") after the cut"

    title "It comes back: nothing runs twice"
    shown "ip link set … up"
    from=$(millis)
    second_host heal second
    wait_for 30 all_in_all 6 || broken "$(everywhere) tasks run, and six are wanted"
    good "six tasks on both hosts together, $(since "$from") after the link was mended"
    sleep 3
    all_in_all 6 || broken "$(everywhere) tasks run, and six are wanted"

    title "The second host is drained and taken out"
    must berth instance drain second
    must berth instance rm second
    must berth service scale web 3 --wait
    serves "version 6"
}
connected() { berth instances --json | grep --quiet "\"$1\""; }
all_in_all() { [ "$(everywhere)" -eq "$1" ]; }
