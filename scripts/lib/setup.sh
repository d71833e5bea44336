# Sourced by the scripts a person runs: sets up what is missing in the checkout, speaks on stderr only.
# After `setup`, $root is the checkout, and node, npm and npx are the pinned ones.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${LOAMLET_CACHE:-$HOME/.cache/loamlet}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# The line that installs PACKAGE... on this machine, for an error message or for us when we are root on Debian.
install_line() { if [[ $(id -u) == 0 ]]; then echo "apt-get install -y --no-install-recommends $*"; else echo "sudo apt-get install -y --no-install-recommends $*"; fi; }

need() { # COMMAND PACKAGE...
  local command=$1; shift
  command -v "$command" >/dev/null || die "$command is missing. Install it: $(install_line "$@")"
}

# Installs Debian packages that are missing, when we may; returns 1 when they can't be had here.
debian_packages() { # PACKAGE...
  command -v dpkg-query >/dev/null || return 1
  local missing=() p
  for p in "$@"; do dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p"); done
  ((${#missing[@]})) || return 0
  [[ $(id -u) == 0 ]] || { say "missing Debian packages: $(install_line "${missing[@]}")"; return 1; }
  say "installing Debian packages: ${missing[*]}"
  local log; log=$(mktemp)
  # A package that starts its own service (mosquitto, docker-registry) must not: the tests start their own.
  if { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1
  then rm -f "$log"; else say "apt-get failed: $(tail -n 3 "$log")"; rm -f "$log"; return 1; fi
}

ensure_node() {
  local arch; case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) die "no Node 26 for $(uname -m): Loamlet runs on x86_64 and aarch64" ;; esac
  node_home=$root/.tools/node_modules/node-linux-$arch
  if ! cmp -s "$root/scripts/node/package-lock.json" "$root/.tools/package-lock.json" || [[ ! -x $node_home/bin/node ]]; then
    need npm npm
    say "installing Node 26 into .tools/"
    mkdir -p "$root/.tools"
    cp "$root/scripts/node/package.json" "$root/.tools/"
    cp "$root/scripts/node/package-lock.json" "$root/.tools/package-lock.new.json"
    rm -f "$root/.tools/package-lock.json"
    cp "$root/.tools/package-lock.new.json" "$root/.tools/package-lock.json"
    (cd "$root/.tools" && npm ci --ignore-scripts --no-fund --no-audit --loglevel=error) >&2 || { rm -f "$root/.tools/package-lock.json"; die "npm could not install node-linux-$arch: is the npm registry reachable?"; }
    rm -f "$root/.tools/package-lock.new.json"
  fi
  export PATH=$node_home/bin:$PATH
}

# npm of the machine, run by our Node, so that whatever npm starts runs under it too.
npm_dir() { dirname "$(dirname "$(readlink -f "$(command -v npm)")")"; }

ensure_modules() {
  if ! cmp -s "$root/package-lock.json" "$root/node_modules/.loamlet-lock"; then
    need npm npm
    say "installing npm packages"
    (cd "$root" && node "$(npm_dir)/bin/npm-cli.js" ci --ignore-scripts --no-fund --no-audit --loglevel=error) >&2 || die "npm ci failed: is the npm registry reachable?"
    cp "$root/package-lock.json" "$root/node_modules/.loamlet-lock"
  fi
  local addon gyp log
  for addon in epoll i2c-bus; do
    [[ -f $root/node_modules/$addon/build/Release/.loamlet-built ]] && continue
    need python3 python3; need make make; need g++ g++
    say "building the $addon addon"
    gyp=$(npm_dir)/node_modules/node-gyp/bin/node-gyp.js
    log=$root/.tools/gyp-$addon.log
    # The environment outranks the flag: a person's own npm settings may name the headers of another Node.
    (cd "$root/node_modules/$addon" && npm_config_nodedir=$node_home node "$gyp" rebuild --nodedir="$node_home") >"$log" 2>&1 || die "building $addon failed: $(tail -n 3 "$log")  (see $log)"
    touch "$root/node_modules/$addon/build/Release/.loamlet-built"
  done
}

# The bundle that ships: made again only when a source is newer.
ensure_bundle() {
  if [[ ! -f $root/dist/.built ]] || [[ -n $(find "$root/src" "$root/hostcalls" "$root/devices" "$root/scripts/build.ts" "$root/package-lock.json" -newer "$root/dist/.built" -print -quit) ]]; then
    node "$root/scripts/build.ts" >&2 || die "the bundle could not be built"
  fi
}

# Builds an example into .tools/modules when its source is newer.
ensure_module() { # EXAMPLE
  local module=$root/.tools/modules/$1.wasm
  if [[ ! -f $module ]] || [[ -n $(find "$root/examples/$1" -newer "$module" -print -quit) ]]; then
    say "building examples/$1"
    "$root/examples/build" "$root/.tools/modules" "$1" >&2 || die "examples/$1 could not be built"
  fi
}

setup() { ensure_node; ensure_modules; }
