# The acts in which the registry gives space back while somebody pushes, keeps what its owner said, and tells who did what. On a server
# of their own, whose grace time is seconds in place of half a day. Defines functions only.

garbage() {
    title "Nobody needs it any more: space comes back while a push runs"
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
}

# A release that cannot be moved, a repository that is full, and the record of it all.
rules() {
    title "Rules of a repository: what is released stays, and nobody fills the disk"
    must berth_there repository set acme/app --tag-overwrite nobody --except 'dev-*'
    put_manifest app v1 kept kept
    put_manifest app dev-1 kept kept
    tell "v1 is out; somebody pushes something else under the same name"
    must_fail 'immutable|cannot be (moved|overwritten)' push_again app v1 new new
    must_fail 'immutable|cannot be (moved|overwritten|deleted)' registry_says --request DELETE "http://$registry/v2/acme/app/manifests/v1"
    put_manifest app dev-1 new new
    whole v1 kept
    good "v1 leads to what it led to; dev-1 moved, since it is an exception"
    must berth_there repository set acme/app --quota 34MiB
    random_blob large 16
    must_fail 'does not fit' upload_says large
    whole now kept
    must berth_there repository show acme/app
}

trail() {
    title "Who did that: the audit"
    must berth_there user create mallory --password mallory-has-a-password
    must_fail '40[134]' mallory_pulls
    # Records of pulls and refusals are on disk within a second.
    sleep 1.2
    must berth_there audit ls --on acme/app --outcome denied --since 5m
    grep --quiet user:mallory "$folder/said" || broken "the refusal is not in the audit"
    must berth_there audit ls --on acme/app --action pull --tail 3
    berth_there audit export >"$folder/audit.jsonl" || broken "the audit cannot be exported"
    good "berth audit export: $(wc -l <"$folder/audit.jsonl") records as JSON Lines"
}
mallory_pulls() {
    curl --silent --show-error --fail-with-body --user mallory:mallory-has-a-password --write-out '\n' "http://$registry/v2/acme/app/manifests/now"
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

# berth, where these acts play.
berth_there() { BERTH_SERVER="http://$registry" BERTH_TOKEN="$registry_token" berth "$@"; }
registry_api() { curl --silent --show-error --fail --header "Authorization: Bearer $registry_token" "$@"; }
# The same, with what the registry says when it refuses.
registry_says() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $registry_token" --write-out '\n' "$@"; }
# Megabytes that its blobs take.
stored() { du --summarize --block-size 1M --apparent-size "$folder/registry/blobs" | cut --fields 1; }
# Below what it was, with what the running push has brought already.
smaller_than() { [ "$(stored)" -lt "$1" ]; }

random_blob() { head --bytes "$(($2 * 1024 * 1024))" /dev/urandom >"$folder/blob-$1"; }
digest_of() { printf 'sha256:%s' "$(sha256sum "$folder/blob-$1" | cut --delimiter ' ' --fields 1)"; }
size_of() { stat --format %s "$folder/blob-$1"; }

# upload BLOB [CURL-ARGUMENTS]: POST and PUT, as a client does.
upload() { upload_by registry_api "$@"; }
upload_says() { upload_by registry_says "$@"; }
upload_by() {
    local by=$1 blob=$2 at
    shift 2
    at=$(registry_api --request POST --output /dev/null --dump-header - "http://$registry/v2/acme/app/blobs/uploads/" |
        tr --delete '\r' | sed -n 's/^[Ll]ocation: //p')
    "$by" "$@" --header 'Content-Type: application/octet-stream' --upload-file "$folder/blob-$blob" \
        "http://$registry$at?digest=$(digest_of "$blob")"
}
slow_upload() { upload new --limit-rate 4M; }

# put_manifest REPOSITORY TAG CONFIG LAYER: blobs that are there already.
put_manifest() {
    local repository=$1 tag=$2
    make_manifest "$tag" "$3" "$4"
    shown "push acme/$repository:$tag"
    put_made registry_api "$repository" "$tag" "$tag" >/dev/null || broken "acme/$repository:$tag was refused"
}

# push_again REPOSITORY TAG CONFIG LAYER: something else under a tag that stands; what was pushed before is kept to compare with.
push_again() {
    make_manifest "$2-again" "$3" "$4"
    put_made registry_says "$1" "$2" "$2-again"
}

put_made() {
    "$1" --request PUT --header 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
        --data-binary "@$folder/blob-manifest-$4" "http://$registry/v2/acme/$2/manifests/$3"
}

make_manifest() {
    local descriptor='{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%s}'
    {
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
        # shellcheck disable=SC2059
        printf "$descriptor" "$(digest_of "$2")" "$(size_of "$2")"
        printf ',"layers":['
        # shellcheck disable=SC2059
        printf "$descriptor" "$(digest_of "$3")" "$(size_of "$3")"
        printf ']}'
    } >"$folder/blob-manifest-$1"
}

# whole TAG BLOB: what was pushed is read back byte for byte.
whole() {
    registry_api "http://$registry/v2/acme/app/manifests/$1" | cmp --quiet - "$folder/blob-manifest-$1" || broken "acme/app:$1 is not what was pushed"
    registry_api "http://$registry/v2/acme/app/blobs/$(digest_of "$2")" | cmp --quiet - "$folder/blob-$2" || broken "a layer of acme/app:$1 is not what was pushed"
    good "acme/app:$1 is whole, byte for byte"
}
