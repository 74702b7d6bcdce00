//! Checks of the guard with all requests that are not plain and good.

use anyhow::{Context, bail, ensure};

use super::{expect, issue};
use crate::http;
use crate::system::System;
use crate::tally::Tally;

/// Run the checks against a running system.
pub(crate) fn checks(system: &System) -> Tally {
    let mut tally = Tally::default();
    let Ok(token) = issue(system, "invoice-clerk") else {
        tally.check("issue a token", || bail!("no token"));
        return tally;
    };
    let bearer = format!("Bearer {token}");
    let (guard, socket) = (&system.guard, &system.guard_socket);
    let send = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        http::send(method, &format!("{guard}{path}"), headers, body)
    };

    tally.check(
        "the guard sets the identity headers and removes look-alikes and the token",
        || {
            let headers = [
                ("authorization", bearer.as_str()),
                ("x-edgepass-subject", "admin"),
                ("x_edgepass_subject", "admin"),
                ("x-edgepass_scope", "everything"),
                ("x-edgepass-anything", "else"),
                ("x.edgepass.subject", "admin"),
                ("x~edgepass~scope", "everything"),
                ("dpop", "a.b.c"),
            ];
            let reply = send("GET", "/invoices?x=../y&z=%2e", &headers, "")?;
            let seen = reply.member("/headers");
            let seen = seen.as_object().context("the origin's answer")?;
            let own: Vec<&String> = seen.keys().filter(|name| name.contains("edgepass")).collect();
            ensure!(own.len() == 5, "{own:?}");
            ensure!(seen["x-edgepass-subject"] == "edgepass-cli", "{seen:?}");
            ensure!(seen["x-edgepass-scope"] == "invoices:read invoices:write", "{seen:?}");
            ensure!(!seen.contains_key("authorization") && !seen.contains_key("dpop"), "{seen:?}");
            ensure!(reply.member("/target") == "/invoices?x=../y&z=%2e", "{}", reply.body);
            expect(reply, 200, "")
        },
    );
    tally.check("a route may forward the token", || {
        let reply = send("GET", "/legacy", &[("authorization", &bearer)], "")?;
        ensure!(reply.member("/headers/authorization") == bearer.as_str(), "{}", reply.body);
        expect(reply, 200, "")
    });
    tally.check("the origin serves only the guard", || {
        expect(http::send("GET", &format!("{}/invoices", system.origin), &[], "")?, 403, "")
    });
    tally.check("a body reaches the origin", || {
        let body = "x".repeat(200_000);
        let reply = send("POST", "/invoices", &[("authorization", &bearer)], &body)?;
        ensure!(reply.member("/received") == 200_000, "{}", reply.body);
        expect(reply, 200, "")
    });
    tally.check("HEAD is routed as GET", || {
        expect(send("HEAD", "/invoices", &[("authorization", &bearer)], "")?, 200, "")
    });
    tally.check("a redirect of the origin is passed on", || {
        let reply = send("GET", "/invoices/moved", &[("authorization", &bearer)], "")?;
        ensure!(reply.header("location") == "/invoices/1", "location");
        expect(reply, 302, "")
    });
    tally.check("a public route needs no token", || {
        expect(send("GET", "/health", &[], "")?, 200, "")
    });
    tally.check("a path without a route is refused", || {
        expect(send("GET", "/admin", &[("authorization", &bearer)], "")?, 404, "route_not_found")
    });
    tally.check("a method without a route is refused", || {
        let reply = send("PATCH", "/invoices", &[("authorization", &bearer)], "")?;
        ensure!(reply.header("allow") == "GET, HEAD, POST", "allow: {}", reply.header("allow"));
        expect(reply, 405, "method_not_allowed")
    });
    tally.check("a preflight request needs no token", || {
        let headers = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let reply = send("OPTIONS", "/invoices", &headers, "")?;
        ensure!(reply.header("access-control-allow-origin") == "https://app.example", "origin");
        let other =
            send("OPTIONS", "/invoices", &[("origin", "https://evil.example"), headers[1]], "")?;
        ensure!(other.header("access-control-allow-origin").is_empty(), "any origin is allowed");
        expect(reply, 204, "")
    });
    tally.check("two credentials are refused as ambiguous", || {
        let both = format!("{bearer}, {bearer}");
        expect(send("GET", "/invoices", &[("authorization", &both)], "")?, 400, "request_invalid")
    });
    tally.check("a WebSocket upgrade is refused where the route says so", || {
        let request = format!(
            "GET /invoices HTTP/1.1\r\nHost: h.example\r\nAuthorization: {bearer}\r\nConnection: \
             upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
             AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        let mut answer = http::raw(
            socket,
            &request.replace("Connection: upgrade", "Connection: close, upgrade"),
        )?;
        answer.truncate(400);
        ensure!(answer.contains(" 400 "), "{answer}");
        Ok(String::new())
    });
    tally.check("paths that servers read differently are refused", || {
        let paths = [
            "/a/../invoices",
            "/invoices/..",
            "/./invoices",
            "//invoices",
            "/invoices//1",
            "/invoices%2f1",
            "/invoices%2F1",
            "/invoices%5c1",
            "/%2e%2e/invoices",
            "/invoices%00",
            "/%252e%252e/x",
            "/invoices/%zz",
            "/invoices/%c0%ae",
            "/invoices;a",
            "/invoices\\1",
        ];
        for path in paths {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: h.example\r\nAuthorization: {bearer}\r\nConnection: \
                 close\r\n\r\n"
            );
            let answer = http::raw(socket, &request)?;
            ensure!(answer.contains("request_invalid"), "{path}: {answer}");
        }
        Ok(format!("{} of them", paths.len()))
    });
    tally.check("a Host header cannot change the path", || {
        for host in ["h.example/health?", "u:p@h.example"] {
            let request =
                format!("GET /admin HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = http::raw(socket, &request)?;
            ensure!(answer.starts_with("HTTP/1.1 400"), "{host}: {answer}");
        }
        Ok(String::new())
    });
    tally.check("a refusal repeats no part of the token", || {
        let reply = send("GET", "/invoices", &[("authorization", "Bearer abc\"def.ghi")], "")?;
        ensure!(
            !reply.body.contains("abc") && !format!("{:?}", reply.headers).contains("abc"),
            "echo"
        );
        expect(reply, 401, "token_malformed")
    });
    tally
}
