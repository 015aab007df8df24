#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Says which tier of MPS streams the headers of a libtorch have, and compiles the MPS backend against
# them. It compiles only: that works on Linux, too, with the headers of a libtorch for macOS. What
# such a machine lacks, Apple's <dispatch/dispatch.h> and <objc/...>, comes from the stand-ins.
set -eu

usage() {
  cat <<'END'
usage: compile_against_real.sh LIBTORCH_DIR

LIBTORCH_DIR holds include/ATen (libtorch's archive, the folder torch of Python's package, or /usr
for Debian's) or ATen itself. Prints "tier: NAME" and exits 0 if the backend compiles, 1 if not.

Environment: CXX, CXXFLAGS  the compiler, and what else it needs
END
}

fail() { printf 'compile_against_real.sh: %s\n' "$*" >&2; exit 1; }

if [ $# -ne 1 ] || [ "$1" = --help ]; then usage; exit 2; fi
here=$(cd -- "$(dirname -- "$0")" && pwd)
source_dir=$(cd -- "$here/../.." && pwd)
cxx=${CXX:-c++}

for include in "$1/include" "$1"; do
  if [ -d "$include/ATen" ]; then break; fi
done
if [ ! -d "$include/ATen" ]; then fail "there is no include/ATen in $1"; fi

# The sources' own names of each other, <streamgate/executor/...>, without a build folder.
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
mkdir "$scratch/streamgate"
for folder in policies executor; do ln -s "$source_dir/$folder" "$scratch/streamgate/$folder"; done

# On a Mac its own headers come first. Elsewhere <objc/...> may be GNU's, which is another runtime.
case $(uname -s) in Darwin) apple=-idirafter ;; *) apple=-I ;; esac

# compile FILE [OPTION...]
compile() {
  file=$1
  shift
  # shellcheck disable=SC2086  # options
  "$cxx" -std=c++20 -fsyntax-only ${CXXFLAGS:-} "$@" -I "$scratch" -I "$include" \
    -I "$include/torch/csrc/api/include" $apple "$here/stand_ins/apple" "$file"
}

tier=none number=0
for candidate in fork_a:3 fork_b:4 upstream_pool:2 single:1; do
  if compile "$source_dir/cmake/mps_tiers/${candidate%:*}.cc" 2>"$scratch/${candidate%:*}.log"; then
    tier=${candidate%:*} number=${candidate#*:}
    break
  fi
done
printf 'tier: %s\n' "$tier"
compile "$source_dir/executor/backends/mps.cc" "-DSTREAMGATE_MPS_TIER=$number" ||
  fail "executor/backends/mps.cc does not compile as tier $tier"
