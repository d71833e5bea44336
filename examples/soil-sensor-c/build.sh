#!/bin/sh
# Builds the module: build.sh [OUT.wasm]. CC is the compiler, SYSROOT where wasi-libc is (Debian: /usr).
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/soil-sensor.wasm}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cc=${CC:-clang}
if ! command -v "${cc%% *}" >/dev/null; then
  echo "error: $cc is missing. On Debian: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32 (the number is clang's version)" >&2
  exit 1
fi
exec $cc --target=wasm32-wasi --sysroot="${SYSROOT:-/usr}" -std=gnu11 -Os -Wall -Wextra "$here/soil-sensor.c" \
  -Wl,--gc-sections -Wl,-s -Wl,--stack-first -Wl,-z,stack-size=32768 -o "$out"
