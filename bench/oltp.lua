-- wrk: one job after the other, in random order. The ids come from the file that PGSLUICE_BENCH_IDS names; without one, it is always the
-- URL's own path.
local file = os.getenv("PGSLUICE_BENCH_IDS")
local requests = {}

init = function()
    if file == "" then
        requests[1] = wrk.format("GET")
    else
        for id in io.lines(file) do
            requests[#requests + 1] = wrk.format("GET", "/v1/jobs/" .. id)
        end
    end
end

request = function()
    return requests[math.random(#requests)]
end

-- In microseconds, as wrk counts.
done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        "\nRESULT %d %d %d %d %d\n",
        summary.requests,
        summary.duration,
        latency:percentile(50),
        latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
