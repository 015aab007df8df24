#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs what run_on_gpu.sh needs into FOLDER: the sources as they are here, and of the dependencies the
# files that Debian's packages put on this machine, since a GPU machine may have none of them and no way
# to fetch any. A few megabytes.
#   tests/cuda/pack.sh FOLDER
set -eu
folder=$1
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/sources"
(cd "$source" && git ls-files -z --cached --others --exclude-standard |
  grep -zv '^examples/data/' | xargs -0 tar -c) | tar -x -C "$work/sources"

prefix=$work/prefix
mkdir "$prefix"
packages=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 'libtbb*' libtoml++-dev \
  libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libgtest-dev 2>/dev/null |
  sed -n 's/^ii *//p')
for package in $packages; do
  dpkg -L "$package" | while read -r file; do
    case $file in
      /usr/share/doc/*) ;;
      *) if [ -f "$file" ]; then (cd / && tar -c ".$file") | tar -x -C "$prefix"; fi ;;
    esac
  done
done
# Of Boost's 160 MB those headers that are in use, and its CMake package.
printf '#include <boost/intrusive/list.hpp>\n#include <boost/intrusive/rbtree.hpp>\n#include <boost/intrusive/rbtree_algorithms.hpp>\n#include <boost/intrusive/set.hpp>\n#include <boost/intrusive/slist.hpp>\n' >"$work/boost.cc"
cat "$source"/executor/internal/*.h "$source"/executor/internal/*.cc "$source"/tests/*/*.cc |
  grep -h '^#include <boost/intrusive' | sort -u >>"$work/boost.cc"
c++ -std=c++20 -M "$work/boost.cc" | tr ' \\' '\n\n' | grep '/boost/' | sort -u |
  while read -r header; do (cd / && tar -c ".$header") | tar -x -C "$prefix"; done
(cd / && tar -c ./usr/lib/*/cmake/Boost-* ./usr/lib/*/cmake/BoostDetect* \
  ./usr/lib/*/cmake/boost_headers-*) | tar -x -C "$prefix"

tar -C "$work" -c sources prefix | gzip >"$folder/streamgate-gpu.tar.gz"
cp "$source/tests/cuda/run_on_gpu.sh" "$folder/"
ls -l "$folder"
