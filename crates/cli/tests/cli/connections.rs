//! Idle connections, and the end of a process while a target hangs.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use crate::serving::Serving;
use crate::targets::DIRECTORY;

#[expect(clippy::disallowed_methods, reason = "no HTTP library leaves a request unfinished")]
fn idle(serving: &Serving, count: usize) -> Vec<TcpStream> {
    let address = serving.url.strip_prefix("http://").unwrap();
    let connect = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

#[test]
fn idle_connections_do_not_delay_a_revocation() {
    let mut serving = Serving::start_with(DIRECTORY);
    // `serve` raises its soft limit to 160 files, of which 64 are for connections.
    serving.restart_with_files(64, 160);
    serving.wait_until_ready();
    let jti = serving.issue(&["invoice-reader"]);
    let some = idle(&serving, 60);
    assert!(serving.get_soon("readyz").is_ok(), "there is room for more");
    let others = idle(&serving, 60);
    assert!(serving.get_soon("readyz").is_ok(), "an idle connection makes room");
    // `revoke` returns only after the list is at the target.
    serving.act(&["revoke", "--jti", &jti], 1);
    drop((some, others));
    serving.wait_until_ready();
}

#[test]
fn a_header_that_does_not_end_is_refused() {
    let serving = Serving::start();
    let request = ureq::get(format!("{}/readyz", serving.url));
    let long = request.header("x-long", "a".repeat(17_000)).call();
    assert!(matches!(long, Err(ureq::Error::StatusCode(431))), "{long:?}");
}

#[test]
fn serve_ends_on_sigterm_even_while_a_target_hangs() {
    let mut serving = Serving::start_with(DIRECTORY);
    serving.kill();
    // A FIFO without a writer: reading it blocks for ever.
    let key_set = serving.issuer.path("public/.well-known/jwks.json");
    std::fs::remove_file(&key_set).unwrap();
    assert!(Command::new("mkfifo").arg(&key_set).status().unwrap().success());
    serving.restart();
    serving.wait_for("it answers", || serving.get("healthz").is_ok());
    serving.wait_for("it serves", || serving.get(".well-known/jwks.json").is_ok());
    let _open = idle(&serving, 1);
    assert_eq!(serving.terminate(), Some(0));
}
