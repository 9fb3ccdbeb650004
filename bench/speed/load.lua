-- Closed-loop load for wrk: the requests are made once from a file of bodies, one a line, and sent in turn.
--   wrk ... -s load.lua URL -- FILE [TOKEN]
-- Prints one line of JSON. Times in microseconds.

local requests, turn = {}, 0

function init(args)
  local headers = { ["content-type"] = "application/json" }
  if args[2] then headers["authorization"] = "Bearer " .. args[2] end
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, line)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"elapsed_us":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.status, e.connect + e.read + e.write + e.timeout))
end
