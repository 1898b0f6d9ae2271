#!/bin/sh
# Installs from Debian's packages what is missing of the named things: server (PostgreSQL's server programs and psql), postgis (for the
# newest of Debian's servers), pgbouncer, wrk, curl, openssl, python (with venv), node (with npm), c++. What is there is left alone.
set -eu

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "This has to be installed by root: $*" >&2
        exit 1
    fi
}

apt() {
    command -v apt-get >/dev/null || {
        echo "Not a Debian system: please install $* yourself." >&2
        exit 1
    }
    echo "Installing $* ..."
    if [ -z "${updated:-}" ]; then
        as_root apt-get update -qq
        updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

has_server() {
    command -v psql >/dev/null || return 1
    command -v pg_ctl >/dev/null && command -v initdb >/dev/null && command -v postgres >/dev/null && return 0
    for programs in /usr/lib/postgresql/*/bin; do
        [ -x "$programs/postgres" ] && [ -x "$programs/initdb" ] && return 0
    done
    return 1
}

# Debian's package would make a cluster on port 5432 and start it. That is for the machine's owner to decide: here only the programs
# are wanted, so it is told not to while it is being installed.
install_server() {
    apt postgresql-common
    settings=/etc/postgresql-common/createcluster.conf
    as_root cp "$settings" "$settings.before-pgsluice"
    as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' "$settings"
    apt postgresql postgresql-client || status=$?
    as_root mv "$settings.before-pgsluice" "$settings"
    return "${status:-0}"
}

# Debian's package would start a service. As above: only the program is wanted.
install_pgbouncer() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        apt pgbouncer
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    apt pgbouncer || status=$?
    as_root rm "$policy"
    return "${status:-0}"
}

# Debian has it in a directory that is not on everybody's PATH.
has_pgbouncer() {
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]
}

install_postgis() {
    version=$(ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -n 1)
    [ -n "$version" ] || return 0
    [ -e "/usr/share/postgresql/$version/extension/postgis.control" ] || apt "postgresql-$version-postgis-3"
}

for thing in "$@"; do
    case $thing in
        server) has_server || install_server ;;
        postgis) install_postgis ;;
        pgbouncer) has_pgbouncer || install_pgbouncer ;;
        wrk) command -v wrk >/dev/null || apt wrk ;;
        openssl) command -v openssl >/dev/null || apt openssl ;;
        curl) command -v curl >/dev/null || apt curl ca-certificates ;;
        python) python3 -c 'import venv, ensurepip' 2>/dev/null || apt python3 python3-venv ;;
        c++) command -v c++ >/dev/null || apt g++ ;;
        node) command -v npm >/dev/null || apt nodejs npm ;;
        *) echo "install.sh knows no $thing" >&2; exit 1 ;;
    esac
done
