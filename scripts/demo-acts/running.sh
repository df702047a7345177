# The first acts of `make demo`: a push, who may pull it, a service, crashes of everything, a batch task. Defines functions only.

start() {
    title "Start: one command, one process to watch"
    # Not on loopback: a second host joins later. A short lease, so that the play need not wait a quarter of a minute for its loss.
    local flags=(--data-dir "$folder/data" --listen "$host" --agent-listen "$agents" --lease-secs 5)
    shown berth up "${flags[@]}"
    local from
    from=$(millis)
    env HOME="$folder/home" XDG_CONFIG_HOME="$folder/home/.config" "$binary" up "${flags[@]}" >"$folder/log" 2>&1 &
    up_pid=$!
    printf '%s\n' "$up_pid" >"$folder/pid"
    wait_for 30 ready || broken "the server is not ready after 30 s"
    good "ready after $(since "$from")"
    wait_for 30 test -s "$folder/data/agent/identity.json" || broken "the agent did not join"
    control_plane=$(identity_of "$folder")
    must berth whoami
}

push() {
    title "Alice pushes an image with plain docker"
    must berth user create alice --password alice-has-a-password
    must berth user create bob --password bob-has-a-password
    must berth access grant user:alice push 'repository:acme/**'
    build_image v1
    log_in alice
    local from
    from=$(millis)
    must docker_alice push --quiet "$host/acme/web:v1"
    good "pushed in $(since "$from")"
    # So that every pull below has to ask the server for all of it.
    docker rmi --force "$host/acme/web:v1" >/dev/null
}

# build_image TAG [LINE]: a web server and a health check out of Debian's static busybox; nothing is fetched from anywhere. With LINE, a
# program that does that instead. It ends when it is asked to, so that no stop has to wait for the time-out.
build_image() {
    local context="$folder/image-$1"
    mkdir "$context"
    cp /bin/busybox "$context/busybox"
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir /www && echo "hello from berth, version ${1#v}" > /www/index.html
EXPOSE 8080
CMD ${2:-trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait}
DOCKERFILE
    shown "docker build --tag $host/acme/web:$1 ."
    docker build --quiet --tag "$host/acme/web:$1" "$context" >"$folder/said" 2>"$folder/build.log" || broken "$(cat "$folder/build.log")"
    indent <"$folder/said"
}

permissions() {
    title "Bob may pull when the grant says so, and no longer"
    local image="$host/acme/web:v1"
    log_in bob
    must_fail 'denied|unauthorized|not found|unknown' docker_bob pull --quiet "$image"
    good "refused: nobody granted it"
    must berth access grant user:bob pull repository:acme/web
    must docker_bob pull --quiet "$image"
    good "granted, and pulled"
    must berth access who-can pull repository:acme/web
    docker rmi --force "$image" >/dev/null
    must berth access revoke user:bob pull repository:acme/web
    must_fail 'denied|unauthorized|not found|unknown' docker_bob pull --quiet "$image"
    good "revoked: refused on the next request"
}

service() {
    title "A service of three tasks, which count once they are healthy"
    local from
    from=$(millis)
    must berth service create web --image "$host/acme/web:v1" --count 3 --port 8080 --health-cmd "$health_check" --wait
    good "three healthy tasks after $(since "$from")"
    must berth ps
    answers
}

# Every task answers on the port that Docker chose for it.
answers() {
    local url count=0
    for url in $(urls); do
        shown "curl $url"
        curl --silent --show-error --fail --max-time 5 "$url" >"$folder/said" 2>&1 || broken "$url: $(cat "$folder/said")"
        indent <"$folder/said"
        count=$((count + 1))
    done
    [ "$count" -eq 3 ] || broken "three tasks should answer, $count do"
}

# heal WHY: kills one container, and waits for the one that takes its place.
heal() {
    killed=$(containers | head -n 1)
    local survivors
    survivors=$(containers | tail -n 2)
    shown "docker kill ${killed:0:12}"
    local from
    from=$(millis)
    docker kill "$killed" >/dev/null
    wait_for "$replace_secs_max" replaced || broken "no replacement after $replace_secs_max s"
    local took
    took=$(since "$from")
    good "$1: killed container to replacement RUNNING in $took"
    [ -z "${DEMO_REPLACED_FILE:-}" ] || printf '%s\n' "$took" >>"$DEMO_REPLACED_FILE"
    must berth service scale web 3 --wait
    [ "$(comm -12 <(containers) <(printf '%s\n' "$survivors"))" = "$survivors" ] || broken "the other two were replaced as well"
    answers
}

crashes() {
    title "The server dies. Containers do not care"
    local before old from
    before=$(containers)
    old=$(child server)
    shown "kill -9 $old    # berth server"
    kill -KILL "$old"
    answers
    from=$(millis)
    wait_for 30 ready || broken "the server did not come back"
    [ "$(child server)" != "$old" ] || broken "the server was not killed"
    good "started again by berth up, ready after $(since "$from")"
    same_containers "$before"

    title "The agent dies. Containers do not care either"
    old=$(child agent)
    shown "kill -9 $old    # berth agent"
    kill -KILL "$old"
    answers
    wait_for 30 new_agent "$old" || broken "the agent did not come back"
    # Long enough for it to have found its containers, and to have spoken to the server.
    sleep 3
    same_containers "$before"

    title "And the service still heals"
    heal "after both crashes"
}

new_agent() { [ -n "$(child agent)" ] && [ "$(child agent)" != "$1" ]; }

same_containers() {
    [ "$(containers)" = "$1" ] || broken "other containers run now: $(containers)"
    good "the same three containers run on"
}

batch() {
    title "A batch task runs to its end, and says how it ended"
    shown "berth run --image $host/acme/web:v1 --wait -- sh -c 'echo working; exit 7'"
    local code=0
    berth run --image "$host/acme/web:v1" --wait -- sh -c 'echo working; exit 7' >"$folder/said" 2>&1 || code=$?
    indent <"$folder/said"
    [ "$code" -eq 7 ] || broken "berth run should end with the task's 7, not $code"
    grep --quiet 'exited with 7' "$folder/said" || broken "the exit code is not shown"
    must berth tasks --family web --stopped
    good "exit code 7, as the task's own"
}
