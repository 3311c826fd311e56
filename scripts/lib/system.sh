# What scripts/setup needs to know about the machine. Sourced, not run.

find_python() {  # prints the first interpreter of 3.11 or later
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

missing_packages() {  # missing_packages PYTHON prints the Debian packages that are not there
    local version
    version="$("$1" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
    command -v gcc >/dev/null || echo gcc libc6-dev
    command -v curl >/dev/null || echo curl # the README's first document, and the test that follows it
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo "$version-venv"
    "$1" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null \
        || echo "$version-dev"
    echo '#include <gmp.h>' | gcc -E - >/dev/null 2>&1 || echo libgmp-dev
}

install_system() {  # install_system PACKAGE… with apt-get, through sudo when not root
    local apt=(apt-get)
    [ "$(id -u)" = 0 ] || apt=(sudo apt-get)
    if ! command -v apt-get >/dev/null || ! command -v "${apt[0]}" >/dev/null; then
        echo "setup: these are missing and cannot be installed from here: $*" >&2
        return 1
    fi
    echo "setup: installing system packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" update -qq || echo "setup: the package lists could not be refreshed; trying those at hand" >&2
    "${apt[@]}" install -y -qq --no-install-recommends "$@" >/dev/null
}
