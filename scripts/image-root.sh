# Root folders of container images, put together from this machine's files: for `FROM scratch`, where no base image can be pulled.
# Functions only.

# base_root ROOT: busybox with its commands, users root and nobody, name resolution, /tmp.
base_root() {
    local root=$1
    mkdir --parents "$root"/{bin,etc,tmp,root,usr/local/bin,var/run}
    chmod 1777 "$root/tmp"
    cp /bin/busybox "$root/bin/busybox"
    local applet
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln --symbolic busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
}

# copy_libraries ROOT FILE…: the shared libraries that the files are linked with, at their own paths.
copy_libraries() {
    local root=$1 library
    shift
    for library in $(ldd "$@" 2>/dev/null | grep '^[[:space:]]' | grep --only-matching '/[^ )]*\.so[^ )]*' | sort --unique); do
        [ -e "$root$library" ] && continue
        mkdir --parents "$root$(dirname "$library")"
        cp --dereference "$library" "$root$library"
    done
}

# copy_program ROOT FILE TARGET: a program with what it is linked with.
copy_program() {
    local root=$1 file=$2 target=$3
    mkdir --parents "$root$(dirname "$target")"
    cp "$file" "$root$target"
    copy_libraries "$root" "$file"
}
