# The act in which the registry gives space back while somebody pushes. On a server of its own, whose grace time is seconds in place of
# half a day. Defines functions only.

garbage() {
    title "Nobody needs it any more: space comes back while a push runs"
    start_registry
    local from
    random_blob old 48
    random_blob kept 8
    random_blob new 24
    upload old
    upload kept
    put_manifest app old kept old
    put_manifest app now kept kept
    tell "two images share a layer; together they take $(stored) MB"
    shown "curl -X DELETE http://$registry/v2/acme/app/manifests/old"
    registry_api --request DELETE "http://$registry/v2/acme/app/manifests/$(digest_of manifest-old)" >/dev/null || broken "it cannot be deleted"
    from=$(millis)
    must berth_there registry gc --dry-run
    slow_upload &
    local pushing=$!
    sleep 0.5
    wait_for 10 smaller_than 48 || broken "the space did not come back: $(stored) MB"
    kill -0 "$pushing" 2>/dev/null || broken "the push was over before the space came back"
    good "$(since "$from") after the delete $(stored) MB are left; the push still runs"
    wait "$pushing" || broken "the push was hurt"
    put_manifest app next new new
    whole now kept
    whole next new
    must berth_there registry gc
    stop_registry
}

# --- a registry with little patience -----------------------------------------------------------------------------------------------------

start_registry() {
    registry="127.0.0.1:$(free_port)"
    local flags=(--data-dir "$folder/registry" --listen "$registry" --agent-listen "127.0.0.1:$(free_port)" --gc-grace-secs 3)
    shown berth server "${flags[@]}"
    "$binary" server "${flags[@]}" >"$folder/registry.log" 2>&1 &
    printf '%s\n' "$!" >"$folder/registry-pid"
    wait_for 30 curl --silent --fail --max-time 2 "http://$registry/readyz" || broken "$(tail -n 20 "$folder/registry.log")"
    registry_token=$(sed -n 's/.*"token": *"\([^"]*\)".*/\1/p' "$folder/registry/admin.json")
}

stop_registry() {
    local pid
    pid=$(cat "$folder/registry-pid")
    kill -TERM "$pid"
    wait_for 15 gone "$pid" || broken "it does not stop"
    rm "$folder/registry-pid"
}

berth_there() { BERTH_SERVER="http://$registry" BERTH_TOKEN="$registry_token" berth "$@"; }
registry_api() { curl --silent --show-error --fail --header "Authorization: Bearer $registry_token" "$@"; }
# Megabytes that its blobs take.
stored() { du --summarize --block-size 1M --apparent-size "$folder/registry/blobs" | cut --fields 1; }
# Below what it was, with what the running push has brought already.
smaller_than() { [ "$(stored)" -lt "$1" ]; }

random_blob() { head --bytes "$(($2 * 1024 * 1024))" /dev/urandom >"$folder/blob-$1"; }
digest_of() { printf 'sha256:%s' "$(sha256sum "$folder/blob-$1" | cut --delimiter ' ' --fields 1)"; }
size_of() { stat --format %s "$folder/blob-$1"; }

# upload BLOB [CURL-ARGUMENTS]: POST and PUT, as a client does.
upload() {
    local blob=$1 at
    shift
    at=$(registry_api --request POST --output /dev/null --dump-header - "http://$registry/v2/acme/app/blobs/uploads/" |
        tr --delete '\r' | sed -n 's/^[Ll]ocation: //p')
    registry_api "$@" --header 'Content-Type: application/octet-stream' --upload-file "$folder/blob-$blob" --output /dev/null \
        "http://$registry$at?digest=$(digest_of "$blob")"
}
slow_upload() { upload new --limit-rate 4M; }

# put_manifest REPOSITORY TAG CONFIG LAYER: blobs that are there already.
put_manifest() {
    local descriptor='{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%s}'
    {
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
        # shellcheck disable=SC2059
        printf "$descriptor" "$(digest_of "$3")" "$(size_of "$3")"
        printf ',"layers":['
        # shellcheck disable=SC2059
        printf "$descriptor" "$(digest_of "$4")" "$(size_of "$4")"
        printf ']}'
    } >"$folder/blob-manifest-$2"
    shown "push acme/$1:$2"
    registry_api --request PUT --header 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
        --data-binary "@$folder/blob-manifest-$2" "http://$registry/v2/acme/$1/manifests/$2" >/dev/null || broken "acme/$1:$2 was refused"
}

# whole TAG BLOB: what was pushed is read back byte for byte.
whole() {
    registry_api "http://$registry/v2/acme/app/manifests/$1" | cmp --quiet - "$folder/blob-manifest-$1" || broken "acme/app:$1 is not what was pushed"
    registry_api "http://$registry/v2/acme/app/blobs/$(digest_of "$2")" | cmp --quiet - "$folder/blob-$2" || broken "a layer of acme/app:$1 is not what was pushed"
    good "acme/app:$1 is whole, byte for byte"
}
