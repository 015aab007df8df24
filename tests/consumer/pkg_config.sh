#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pkg_config.sh PREFIX PROJECT WORK TORCH_LIBRARIES PKG_CONFIG CXX: builds and runs PROJECT's program
# with what pkg-config says and nothing else. With it, one file that includes every installed header:
# in the tree a public header could include an internal one unnoticed, which users do not have. Only the
# one for spdlog is left out: who includes it links that.
set -eu
prefix=$1 project=$2 work=$3 torch_libraries=$4 pkg_config=$5 cxx=$6

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name streamgate.pc)"):${PKG_CONFIG_PATH:-}
export PKG_CONFIG_PATH
mkdir -p "$work"
(cd "$prefix/include" && find streamgate -name '*.h' ! -name spdlog.h) |
  sed 's/.*/#include <&>/' >"$work/every_header.cc"

set -x
# shellcheck disable=SC2046  # flags are many words
"$cxx" -std=c++20 "$project/main.cc" "$work/every_header.cc" -o "$work/consumer" \
  $("$pkg_config" --cflags --libs streamgate)
LD_LIBRARY_PATH=$torch_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$work/consumer"
