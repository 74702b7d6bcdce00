#!/usr/bin/env bash
# A server on hyper goes on sending a `Date` from the future after its machine's clock is set back: hyper keeps the
# text of the field, and makes a new one only once the clock has passed the second after the one that it holds. A clock
# that was an hour ahead for a moment gives an hour of wrong dates, on every connection whose thread has sent one. A
# client that compares clocks by `Date`, or computes the age of a response from it (RFC 9111 §4.2.3), is misled as long.
#
# Observed with hyper 1.12.0 and hyper-util 0.1.21, in seconds between `Date` and the clock:
#
#   before: 0
#   clock 3600 s ahead: 3600
#   clock set back, at once: 3600
#   clock set back, after 3 s: 3600
#
# The clock is shifted for the server alone, by a library that is loaded before the C library. Needs Linux, a C
# compiler, Rust with cargo, curl, and the registry of crates. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
server=

cat > shift.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, now);
    long by = 0;
    FILE *file = id == CLOCK_REALTIME ? fopen("shift", "r") : NULL;
    if (file) {
        if (fscanf(file, "%ld", &by) != 1) by = 0;
        fclose(file);
    }
    now->tv_sec += by;
    return done;
}
C
cc -shared -fPIC -o shift.so shift.c -ldl

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "date"
version = "0.1.0"
edition = "2021"

[dependencies]
hyper = { version = "=1.12.0", features = ["http1", "server"] }
hyper-util = { version = "=0.1.21", features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "net", "rt"] }
TOML
cat > src/main.rs <<'RS'
use hyper::{body::Incoming, server::conn::http1, service::service_fn, Request, Response};
use hyper_util::rt::TokioIo;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = |_: Request<Incoming>| async { Ok::<_, hyper::Error>(Response::new(String::new())) };
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}
RS
cargo build --quiet --release
echo 0 > shift
LD_PRELOAD="$PWD/shift.so" target/release/date > port &
server=$!
until [ -s port ]; do sleep 0.1; done

# Seconds between the field and the clock, to the next ten: a request takes a moment.
ahead() {
  local date
  date=$(curl -sSI "http://127.0.0.1:$(cat port)/" | tr -d '\r' | sed -n 's/^date: //Ip')
  echo $(( ($(date -d "$date" +%s) - $(date +%s) + 5) / 10 * 10 ))
}
{
  echo "before: $(ahead)"
  echo 3600 > shift
  sleep 1.1
  echo "clock 3600 s ahead: $(ahead)"
  echo 0 > shift
  echo "clock set back, at once: $(ahead)"
  sleep 3
  echo "clock set back, after 3 s: $(ahead)"
} > seen
cat seen
diff seen - <<'EXPECTED'
before: 0
clock 3600 s ahead: 3600
clock set back, at once: 3600
clock set back, after 3 s: 3600
EXPECTED
echo "as observed"
