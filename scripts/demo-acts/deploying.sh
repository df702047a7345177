# The acts in which a push deploys: a trigger, a roll under a client that counts, a version that cannot start, a server killed in the middle,
# a push that waits for approval, a rollback that later pushes do not undo. Defines functions only.

# --- a client that counts --------------------------------------------------------------------------------------------------------------

# How many of the service's tasks answer now.
answering() {
    urls | xargs --no-run-if-empty --max-args 1 --max-procs 8 \
        curl --silent --fail --max-time 2 --output /dev/null --write-out '%{http_code}\n' 2>/dev/null | grep --count 200 || true
}

# In the background, again and again: asks every task at once and writes down how many answered. A task may end between the list and the
# question, so a round that comes out short is asked once more with the list as it is then.
count_on() {
    : >"$folder/counting"
    : >"$folder/counts"
    (
        while [ -e "$folder/counting" ]; do
            count=$(answering)
            [ "$count" -ge 3 ] || count=$(answering)
            printf '%s\n' "$count" >>"$folder/counts"
            sleep 0.1
        done
    ) &
    counter=$!
}

count_off() {
    rm --force "$folder/counting"
    wait "$counter"
    local fewest
    fewest=$(sort --numeric-sort "$folder/counts" | head -n 1)
    [ "$fewest" -ge 3 ] || broken "there were moments when only $fewest tasks answered"
    good "meanwhile all tasks were asked $(wc -l <"$folder/counts") times: never fewer than $fewest answered"
}

# Every task says that it is of this version, and there are three.
serves() {
    local url count=0
    for url in $(urls); do
        curl --silent --fail --max-time 5 "$url" >"$folder/said" || broken "$url does not answer"
        grep --quiet --fixed-strings "$1" "$folder/said" || broken "$url says: $(cat "$folder/said")"
        count=$((count + 1))
    done
    [ "$count" -eq 3 ] || broken "three tasks should answer, $count do"
    good "three tasks say: $1"
}

# deploys PERSON TAG: pushes, and waits as CI would.
deploys() {
    local from
    from=$(millis)
    must "docker_$1" push --quiet "$host/acme/web:$2"
    must berth wait "acme/web:$2"
    good "pushed and deployed in $(since "$from")"
}

# --- the acts --------------------------------------------------------------------------------------------------------------------------

trigger() {
    title "A trigger: from here on, docker push is the deploy command"
    must berth access grant user:alice deploy service:default/web
    must berth trigger create --service web --repository acme/web --tag 'v*'
    build_image v2
    count_on
    deploys alice v2
    count_off
    serves "version 2"
    must berth trigger history --service web
}

breaker() {
    title "A version that cannot start: the breaker takes the service back"
    build_image v3 'echo cannot find the database; exit 1'
    count_on
    local from
    from=$(millis)
    must docker_alice push --quiet "$host/acme/web:v3"
    must_end 6 berth wait acme/web:v3
    good "pushed, failed and rolled back in $(since "$from"); exit code 6 for CI"
    must berth service show web
    count_off
    serves "version 2"
}

killed_in_the_middle() {
    title "The server is killed in the middle of a rollout, and finishes it"
    build_image v4
    count_on
    must docker_alice push --quiet "$host/acme/web:v4"
    wait_for 30 more_than_three || broken "the rollout did not begin"
    local old
    old=$(child server)
    shown "kill -9 $old    # berth server"
    kill -KILL "$old"
    wait_for 30 ready || broken "the server did not come back"
    must berth wait acme/web:v4
    count_off
    serves "version 4"
}
more_than_three() { [ "$(containers | wc -l)" -gt 3 ]; }

approval() {
    title "Carol may push, but not deploy: her push waits"
    must berth user create carol --password carol-has-a-password
    must berth access grant user:carol push 'repository:acme/**'
    log_in carol
    build_image v5
    must docker_carol push --quiet "$host/acme/web:v5"
    must_end 9 berth wait acme/web:v5
    must berth trigger history --service web --status waiting
    must berth deploy approve web
    serves "version 5"
}

rollback() {
    title "Back to what was good, and no push undoes it"
    must berth rollback web --reason 'customers complain'
    serves "version 4"
    build_image v6
    must docker_alice push --quiet "$host/acme/web:v6"
    must_end 9 berth wait acme/web:v6
    serves "version 4"
    tell "The triggers are held until somebody frees them."
    must berth trigger resume web
    must berth wait acme/web:v6
    serves "version 6"
}
