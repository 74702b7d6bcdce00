//! Clients that hold connections and ask nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::serving::Serving;

#[test]
#[expect(clippy::disallowed_methods, reason = "a client that no library would be")]
fn connections_that_ask_nothing_hold_up_no_revocation_and_end() {
    let mut serving = Serving::start();
    serving.restart_with_files(160);
    serving.wait_until_ready();
    let jti = serving.issue(&["invoice-reader"]);
    let address = serving.url.strip_prefix("http://").unwrap();
    let mut idle: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
            stream
        })
        .collect();
    assert!(serving.get_soon("readyz").is_err(), "more connections than files allow");
    serving.act(&["revoke", "--jti", &jti], 1);

    // Each look takes up to a second.
    for _ in 0..40 {
        if serving.get_soon("readyz").is_ok() {
            break;
        }
        for stream in &mut idle {
            // Drop by drop; those that are cut already take none.
            let _ = stream.write_all(b"a");
        }
    }
    assert!(serving.get_soon("readyz").is_ok(), "connections that ask nothing are held for ever");
    let first = &mut idle[0];
    first.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(first.read(&mut [0; 16]).unwrap_or(0), 0);
}
