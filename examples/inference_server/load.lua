-- SPDX-License-Identifier: Apache-2.0
--
-- Load for the inference server with wrk: DIGITS digits a request and, from each connection, a pause of
-- PAUSE_MS before each request, so that what is offered does not follow what is answered. It counts
-- replies by status. docs/inference_server.md has the figures and the commands.
--
--   DIGITS=10 PAUSE_MS=100 wrk -t 2 -c 64 -d 20 -s load.lua http://127.0.0.1:8000
local digits = tonumber(os.getenv("DIGITS") or "1")
local pause = tonumber(os.getenv("PAUSE_MS") or "0")
local pixels = {}
for i = 1, digits * 28 * 28 do pixels[i] = "0.5" end

wrk.method = "POST"
wrk.path = "/v2/models/digits/infer"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"inputs":[{"name":"images","datatype":"FP32","shape":[' .. digits ..
  ',1,28,28],"data":[' .. table.concat(pixels, ",") .. "]}]}"

local threads = {}
function setup(thread) table.insert(threads, thread) end

function init()
  counts = {}
  -- Connections that all began at once would go on in step.
  math.randomseed(os.time())
end

function delay()
  if pause == 0 then return 0 end
  return math.random() * 2 * pause
end

function response(status)
  counts["s" .. status] = (counts["s" .. status] or 0) + 1
end

function done(summary)
  for _, status in ipairs({200, 400, 429, 499, 500, 503, 504}) do
    local sum = 0
    for _, thread in ipairs(threads) do
      local counted = thread:get("counts")
      sum = sum + ((counted or {})["s" .. status] or 0)
    end
    if sum > 0 then
      io.write(string.format("status %d: %d, %.1f a second\n", status, sum,
        sum / (summary.duration / 1e6)))
    end
  end
end
