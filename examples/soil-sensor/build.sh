#!/bin/sh
# Builds the module: build.sh [OUT.wasm]. The compiler is this folder's own (npm install), else the checkout's.
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/soil-sensor.wasm}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$here"
modules=./node_modules # a relative path: asc looks for the shim's library from it
[ -d "$modules/assemblyscript" ] || modules=../../node_modules
if [ ! -d "$modules/assemblyscript" ]; then
  echo "error: the AssemblyScript compiler is missing. Install it: cd $here && npm install" >&2
  exit 1
fi
exec node "$modules/assemblyscript/bin/asc.js" soil-sensor.ts --config "$modules/@assemblyscript/wasi-shim/asconfig.json" -O -o "$out"
