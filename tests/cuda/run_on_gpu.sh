#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds, tests and measures Streamgate on a machine with an NVIDIA GPU that has a compiler, CMake,
# ninja and Python's torch, and nothing else; the rest comes from tests/cuda/pack.sh. One call, one
# report, in well under ten minutes:
#   tests/cuda/pack.sh FOLDER        where the dependencies are
#   FOLDER/run_on_gpu.sh FOLDER OUT [PART...]
# Parts: test probe cost serve mixed first_call models overflow memcheck soak; without any, all but the
# last two. OUT gets report.txt, which also goes to stdout, results.jsonl of the benchmarks, and build.log.
# A part that fails does not keep the others from running; the exit code says whether all went well.
set -u
pack=$(cd "$1" && pwd)
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
parts=${*:-test probe cost serve mixed first_call models overflow}
work=${STREAMGATE_GPU_WORK:-/tmp/streamgate-gpu}
status=0

say() { echo "$@" | tee -a "$out/report.txt"; }
part() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
# step NAME SECONDS COMMAND...: runs it with a guard, and says how it ended and how long it took.
step() {
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  say "== $name: $*"
  timeout "$limit" "$@" 2>&1 | tee -a "$out/report.txt"
  local code=${PIPESTATUS[0]}
  say "-- $name: exit code $code after $((SECONDS - begin)) s"
  [ "$code" = 0 ] || status=1
}
# bench SECONDS WORDS...: as step, its lines also among the results.
bench() {
  local limit=$1 begin=$SECONDS
  shift
  say "== streamgate_cuda_bench $*"
  timeout "$limit" "$build/tests/cuda/streamgate_cuda_bench" "$@" 2>>"$out/report.txt" |
    tee -a "$out/results.jsonl" "$out/report.txt"
  local code=${PIPESTATUS[0]}
  say "-- exit code $code after $((SECONDS - begin)) s"
  return "$code"
}

: >"$out/report.txt"
: >"$out/results.jsonl"
say "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
say "device: $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader)"
say "torch: $(python3 -c 'import torch; print(torch.__version__, "CUDA", torch.version.cuda)')"
say "machine: $(uname -sr), $(nproc) cores, $(c++ --version | head -1), $(cmake --version | head -1)"

mkdir -p "$work"
tar -C "$work" -xzf "$pack/streamgate-gpu.tar.gz" || exit 1
# Beside the build, as it takes about as long: packages for the tests, where this torch makes them.
export STREAMGATE_PACKAGES=$work/packages
if part test; then
  timeout 240 python3 "$work/sources/tests/cuda/export_packages.py" "$STREAMGATE_PACKAGES" \
    >"$out/export.log" 2>&1 &
  export_id=$!
fi
build=$work/build
prefix=$work/prefix/usr
torch=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')
library=$(dirname "$(find "$prefix" -name 'libtbb.so*' | head -1)")
export LD_LIBRARY_PATH="$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
begin=$SECONDS
{ cmake -S "$work/sources" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$prefix;$torch" -DTOMLPLUSPLUS_INCLUDE_DIR="$prefix/include" \
  -DSTREAMGATE_WITH_METRICS=OFF -DSTREAMGATE_BUILD_EXAMPLES=OFF -DSTREAMGATE_BUILD_BENCHMARKS=OFF \
  -DSTREAMGATE_WITH_CUDA=ON &&
  ninja -C "$build" streamgate streamgate_cuda_test streamgate_cuda_bench \
    streamgate_cpu_backend_test streamgate_executor_test streamgate_completions_test \
    streamgate_calls_test; } >"$out/build.log" 2>&1
code=$?
say "build: exit code $code after $((SECONDS - begin)) s"
if [ "$code" != 0 ]; then
  grep -E -A6 'error|Error|FAILED' "$out/build.log" | head -80 | tee -a "$out/report.txt"
  tail -5 "$out/build.log"
  exit 1
fi

if part test; then
  wait "$export_id"
  code=$?
  say "packages: exit code $code after $((SECONDS - begin)) s: $(tail -1 "$out/export.log")"
  [ "$code" = 0 ] || status=1
  printf '[executor]\nbackend = "cuda"\n' >"$work/cuda.toml"
  step doctor 60 "$build/bin/streamgate" doctor --config "$work/cuda.toml"
  step test 200 "$build/tests/cuda/streamgate_cuda_test" --gtest_brief=1
  step "test of the executor" 120 "$build/tests/streamgate_executor_test" --gtest_brief=1 \
    --gtest_filter='-*.Slow*:*.Long*'
  step "test of completions" 60 "$build/tests/streamgate_completions_test" --gtest_brief=1
  step "test of the cache" 60 "$build/tests/streamgate_cpu_backend_test" --gtest_brief=1 \
    --gtest_filter='GraphCache*'
  step "test of calls" 120 "$build/tests/calls/streamgate_calls_test" --gtest_brief=1 \
    --gtest_filter='-*.Slow*:*.Long*'
fi
if part cost; then bench 60 cost 3 || status=1; fi
if part probe; then
  for mode in thread_local relaxed global; do
    begin=$SECONDS
    say "== probe of capture mode $mode"
    timeout 60 "$build/bin/streamgate" probe --backend cuda --capture-mode $mode --max-threads 8 \
      --budget-seconds 30 --out "$out/limits-$mode.toml" 2>>"$out/build.log" | tee -a "$out/report.txt"
    say "-- exit code ${PIPESTATUS[0]} after $((SECONDS - begin)) s"
  done
fi
if part mixed; then
  say "Without Streamgate this is expected to die (exit code 124 is the guard's, 134 and 139 signals)."
  for mode in thread_local relaxed global; do bench 20 mixed 2000000 without libtorch $mode; done
  bench 20 mixed 200000 without cache relaxed
  bench 280 mixed 2000000 with libtorch thread_local || status=1
  bench 20 mixed 200000 with cache relaxed || status=1
fi
if part serve; then
  bench 120 serve mlp6x256 host 1,4,16,32,64 1000 1 mutex,eager,replay,fixed,knee || status=1
  bench 90 serve mlp6x256 device 16 1000 1 || status=1
fi
if part first_call; then bench 60 first_call 3000 || status=1; fi
if part models; then
  for model in mlp12x1024 encoder cnn; do bench 90 serve $model host 16 1000 1 mutex,eager,replay,fixed || status=1; done
fi
if part overflow; then
  bench 60 overflow 3000 4 || status=1
  bench 60 transfer 3 64 || status=1
  # By the daemon, processes use the device side by side.
  export CUDA_MPS_PIPE_DIRECTORY=$work/daemon CUDA_MPS_LOG_DIRECTORY=$work/daemon
  mkdir -p "$work/daemon"
  if nvidia-cuda-mps-control -d; then
    say "with NVIDIA's multi-process daemon:"
    bench 60 overflow 3000 4 || status=1
    echo quit | timeout 20 nvidia-cuda-mps-control
  else
    say "NVIDIA's multi-process daemon cannot be started here"
  fi
  unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
fi
if part memcheck; then
  # What CUDA refuses is what some of the tests are about.
  step memcheck 300 compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9 \
    "$build/tests/cuda/streamgate_cuda_test" --gtest_brief=1 --gtest_filter='-*Dies*:*Lost*'
fi
if part soak; then bench 240 mixed 5000000 with libtorch thread_local || status=1; fi
say "all: exit code $status"
exit $status
