#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The inference server at its capacity and at twice that, with Streamgate's executor and with a plain
# pool of threads, under wrk: goodput, latency of what was answered well, memory. On a quiet machine:
#   examples/inference_server/compare.sh SERVER MODEL.pt [SECONDS]
# SERVER is build/release/bin/inference_server, MODEL.pt the digits model that ./dev serve has trained.
# Server and wrk have processors of their own (SERVER_CPUS, LOAD_CPUS; by default the first half and the
# second), since at twice the capacity wrk works twice as hard, and takes that from a server beside it. A
# loop of the lowest priority keeps wrk's busy in every phase: where the two are threads of one core, the
# server would otherwise be faster in those in which wrk has little to do.
set -eu
server=$1 model=$(realpath "$2") seconds=${3:-10}
load=$(dirname -- "$0")/load.lua
connections=200
export DIGITS=10
folder=$(mktemp -d)
pid='' burners=''
clean_up() {
  for each in $pid $burners; do kill "$each" 2>/dev/null || :; done
  rm -rf "$folder"
}
trap clean_up EXIT
processors=$(nproc)
half=$((processors / 2))
server_cpus=${SERVER_CPUS:-0-$((half > 0 ? half - 1 : 0))}
load_cpus=${LOAD_CPUS:-$half-$((processors - 1))}
for _ in $(seq $((processors - half))); do
  taskset -c "$load_cpus" nice -n 19 sh -c 'while :; do :; done' &
  burners="$burners $!"
done

# start NAME MAX_IN_FLIGHT ARGUMENTS...
start() {
  name=$1
  cat >"$folder/server.toml" <<END
[server]
port = 0
max_connections = 512
max_in_flight = $2
executor_config = "streamgate.toml"
[[model]]
name = "digits"
op_class = "raw"
file = "$model"
inputs = [{ name = "images", datatype = "FP32", shape = [-1, 1, 28, 28] }]
outputs = [{ name = "scores", datatype = "FP32", shape = [-1, 10] }]
END
  shift 2
  : >"$folder/streamgate.toml"
  : >"$folder/out"
  taskset -c "$server_cpus" "$server" --config "$folder/server.toml" "$@" >"$folder/out" &
  pid=$!
  until grep -q '^metrics' "$folder/out"; do kill -0 "$pid"; sleep 0.1; done
  url=$(sed -n 's,^serving \(http://[^/]*\)/.*,\1,p' "$folder/out")
  metrics=$(sed -n 's/^metrics //p' "$folder/out")
}
stop() { kill "$pid" && wait "$pid"; pid=''; }

buckets() {
  curl -s "$metrics" |
    sed -n 's/^inference_request_duration_seconds_bucket{.*le="\(.*\)"} \(.*\)$/\1 \2/p'
}
# quantile SHARE BEFORE AFTER: the bound of the bucket that holds it, of the requests in between.
quantile() {
  paste -d ' ' "$2" "$3" | awk -v share="$1" '
    { bound[NR] = $1; count[NR] = $4 - $2 }
    END { for (i = 1; i <= NR; ++i) if (count[i] >= share * count[NR]) { print bound[i]; exit } }'
}

# phase TITLE CONNECTIONS PAUSE_MS
phase() {
  buckets >"$folder/before"
  PAUSE_MS=$3 taskset -c "$load_cpus" wrk -t 1 -c "$2" -d "$seconds" -s "$load" "$url" >"$folder/wrk"
  buckets >"$folder/after"
  good=$(sed -n 's/^status 200: .*, \(.*\) a second/\1/p' "$folder/wrk")
  others=$(sed -n 's/^status \([1-9][0-9]*\): .*, \(.*\) a second/\1 \2 ;/p' "$folder/wrk" |
    grep -v '^200' | tr '\n' ' ') || :
  memory=$(ps -o rss= -p "$pid" | awk '{ printf "%.0f", $1 / 1024 }')
  printf '%-10s %-22s good %8s/s  p50 <= %6s s  p99 <= %6s s  memory %5s MiB  others: %s %s\n' \
    "$name" "$1" "$good" "$(quantile 0.5 "$folder/before" "$folder/after")" \
    "$(quantile 0.99 "$folder/before" "$folder/after")" "$memory" "$others" \
    "$(grep 'Socket errors' "$folder/wrk" || :)"
}

# As many connections at once as keep the server busy say what it can do.
measure() {
  phase 'warm-up' 4 0
  phase 'capacity' 4 0
  pause=$(awk -v good="$good" -v c="$connections" 'BEGIN { printf "%.0f", 1000 * c / (2 * good) }')
  phase "twice, first" "$connections" "$pause"
  phase "twice, second" "$connections" "$pause"
  phase 'capacity again' 4 0
  stop
}

start streamgate 16
measure
start pool 4096 --plain-pool 8
measure
