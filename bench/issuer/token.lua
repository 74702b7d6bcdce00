-- The request that wrk sends, and what it reports: one JSON object.

wrk.method = "POST"
wrk.body = os.getenv("EDGEPASS_BODY")
wrk.headers["content-type"] = "application/x-www-form-urlencoded"
wrk.headers["authorization"] = os.getenv("EDGEPASS_AUTHORIZATION")

done = function(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout
  ))
end
