//! The journey: a token is issued, used, refused what it may not do, revoked, and refused.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::http::{self, get, post_form};
use crate::system::System;
use crate::transcript;

/// The revocation deadline of the default settings.
const DEADLINE: Duration = Duration::from_secs(10);

/// Counts checks and prints each with its time.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    /// Make a check; what it returns is printed beside its name.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<String>) {
        let start = Instant::now();
        let outcome = check();
        let time = start.elapsed().as_millis();
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                println!(
                    "  ok    {time:>6} ms  {name}{}{seen}",
                    if seen.is_empty() { "" } else { ": " }
                );
            }
            Err(error) => {
                self.failed += 1;
                println!("  FAIL  {time:>6} ms  {name}: {error:#}");
            }
        }
    }

    /// Add another tally.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// An error if anything failed.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        ensure!(self.failed == 0 && self.passed > 0, "{} checks failed", self.failed);
        Ok(())
    }
}

/// The main job, step by step.
pub(crate) fn main_job(system: &System) -> Tally {
    let mut tally = Tally::default();
    let invoices = format!("{}/invoices", system.guard);
    let mut token = String::new();
    tally.check("issue a token for invoices:read", || {
        token = issue(system, "invoice-reader")?;
        Ok(format!("{} characters", token.len()))
    });
    tally.check("call the API with it", || expect(get(&invoices, &token)?, 200, ""));
    tally.check("write with it", || {
        let headers = [("authorization", format!("Bearer {token}"))];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let reply = http::send("POST", &invoices, &headers, "")?;
        ensure!(reply.header("www-authenticate").contains("scope=\"invoices:write\""), "challenge");
        expect(reply, 403, "scope_insufficient")
    });
    tally.check("call the API without a token", || {
        let reply = http::send("GET", &invoices, &[], "")?;
        ensure!(reply.header("www-authenticate") == "Bearer realm=\"edgepass\"", "challenge");
        expect(reply, 401, "token_missing")
    });
    let mut revoked_at = None;
    tally.check("revoke it (returns when the new list is served)", || {
        let jti = jti(system, &token)?;
        let status = system.edgepass(&["revoke", "--jti", &jti, "--reason", "demo"]).output()?;
        revoked_at = Some(Instant::now());
        ensure!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        Ok(String::new())
    });
    tally.check("call the API until it is refused", || {
        let revoked_at = revoked_at.context("it was not revoked")?;
        let reply = loop {
            let reply = get(&invoices, &token)?;
            if reply.status != 200 {
                break reply;
            }
            ensure!(revoked_at.elapsed() < DEADLINE, "still accepted after {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(50));
        };
        let bit = revoked_at.elapsed();
        expect(reply, 401, "token_revoked")?;
        Ok(format!("revocation took {:.1} s to bite, deadline {DEADLINE:?}", bit.as_secs_f64()))
    });
    tally
}

/// What the guard does with everything that is not a plain, good request.
pub(crate) fn guard(system: &System) -> Tally {
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

    tally.check("identity headers are the guard's, look-alikes and the token are gone", || {
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
    });
    tally.check("a route may forward the token", || {
        let reply = send("GET", "/legacy", &[("authorization", &bearer)], "")?;
        ensure!(reply.member("/headers/authorization") == bearer.as_str(), "{}", reply.body);
        expect(reply, 200, "")
    });
    tally.check("the origin serves nobody but the guard", || {
        expect(http::send("GET", &format!("{}/invoices", system.origin), &[], "")?, 403, "")
    });
    tally.check("a body reaches the origin", || {
        let body = "x".repeat(200_000);
        let reply = send("POST", "/invoices", &[("authorization", &bearer)], &body)?;
        ensure!(reply.member("/received") == 200_000, "{}", reply.body);
        expect(reply, 200, "")
    });
    tally.check("HEAD is GET", || {
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
    tally.check("what no route names is refused", || {
        expect(send("GET", "/admin", &[("authorization", &bearer)], "")?, 404, "route_not_found")
    });
    tally.check("a method no route names is refused", || {
        let reply = send("PATCH", "/invoices", &[("authorization", &bearer)], "")?;
        ensure!(reply.header("allow") == "GET, HEAD, POST", "allow: {}", reply.header("allow"));
        expect(reply, 405, "method_not_allowed")
    });
    tally.check("a preflight carries no token", || {
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
    tally.check("two credentials are ambiguous", || {
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
            "/invoices/%61dmin",
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
    tally.check("a Host header cannot move the path", || {
        for host in ["h.example/health?", "u:p@h.example"] {
            let request =
                format!("GET /admin HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = http::raw(socket, &request)?;
            ensure!(answer.starts_with("HTTP/1.1 400"), "{host}: {answer}");
        }
        Ok(String::new())
    });
    tally.check("a refusal repeats nothing that was sent", || {
        let reply = send("GET", "/invoices", &[("authorization", "Bearer abc\"def.ghi")], "")?;
        ensure!(
            !reply.body.contains("abc") && !format!("{:?}", reply.headers).contains("abc"),
            "echo"
        );
        expect(reply, 401, "token_malformed")
    });
    tally
}

/// The issuer over HTTP, and several processes on one database.
pub(crate) fn issuer(system: &System) -> Tally {
    let mut tally = Tally::default();
    let issuer = &system.issuer;
    let token_url = format!("{issuer}/oauth/token");
    let secret = system.client_secret.as_str();
    let credentials = [
        ("grant_type", "client_credentials"),
        ("client_id", "example-service"),
        ("client_secret", secret),
    ];
    let mut token = String::new();
    tally.check("client_credentials give a token", || {
        let reply = post_form(&token_url, &credentials)?;
        token = reply.member("/access_token").as_str().unwrap_or_default().to_owned();
        ensure!(reply.header("cache-control") == "no-store", "cache-control");
        ensure!(reply.member("/token_type") == "Bearer" && !token.is_empty(), "{}", reply.status);
        expect(reply, 200, "")
    });
    tally.check("a wrong secret gives none", || {
        let mut wrong = credentials;
        wrong[2].1 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let reply = post_form(&token_url, &wrong)?;
        ensure!(reply.member("/error") == "invalid_client", "{}", reply.body);
        expect(reply, 401, "")
    });
    tally.check("a scope beyond the role is refused and says what is allowed", || {
        let form = [credentials.as_slice(), &[("scope", "invoices:write")]].concat();
        let reply = post_form(&token_url, &form)?;
        ensure!(reply.member("/error") == "invalid_scope", "{}", reply.body);
        ensure!(reply.body.contains("allowed: invoices:read"), "{}", reply.body);
        expect(reply, 400, "")
    });
    tally.check("a repeated parameter is refused", || {
        let form = [credentials.as_slice(), &[("grant_type", "client_credentials")]].concat();
        expect(post_form(&token_url, &form)?, 400, "")
    });
    tally.check("published documents have validators and CORS", || {
        let url = format!("{issuer}/.well-known/jwks.json");
        let reply = http::send("GET", &url, &[("origin", "https://any.example")], "")?;
        ensure!(reply.header("access-control-allow-origin") == "*", "CORS");
        ensure!(reply.member("/keys").as_array().is_some_and(|keys| keys.len() == 2), "two keys");
        let again = http::send("GET", &url, &[("if-none-match", reply.header("etag"))], "")?;
        ensure!(again.body.is_empty(), "a 304 has no body");
        expect(again, 304, "")
    });
    tally.check("a client revokes its own token; the same call is refused", || {
        let invoices = format!("{}/invoices", system.guard);
        expect(get(&invoices, &token)?, 200, "")?;
        let form = [("token", token.as_str()), credentials[1], credentials[2]];
        expect(post_form(&format!("{issuer}/oauth/revoke"), &form)?, 200, "")?;
        let start = Instant::now();
        while get(&invoices, &token)?.status == 200 {
            ensure!(start.elapsed() < DEADLINE, "still accepted");
            std::thread::sleep(Duration::from_millis(50));
        }
        expect(get(&invoices, &token)?, 401, "token_revoked")
    });
    tally.check("a commit of another process is noticed and served", || {
        let token = issue(system, "invoice-reader")?;
        let jti = jti(system, &token)?;
        let start = Instant::now();
        let output = system.edgepass(&["revoke", "--jti", &jti, "--reason", "test"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The figure is shown, not asserted: a slow machine is no failure.
        Ok(format!("the whole command took {} ms", start.elapsed().as_millis()))
    });
    tally.check("`edgepass verify` gives the guard's verdict", || {
        let token = issue(system, "invoice-reader")?;
        let line = verify(system, &token)?;
        ensure!(line.starts_with("accepted"), "{line}");
        Ok(String::new())
    });
    tally.check("`edgepass doctor` finds nothing wrong and times a refusal", || {
        let url = format!("{}/invoices", system.guard);
        let output = system.edgepass(&["doctor", "--url", &url]).output()?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let probe = text.lines().find(|line| line.contains("after its revocation"));
        Ok(probe.context("no probe")?.replace("ok    probe", "").trim().to_owned())
    });
    tally.check("what was published is what the public sees", || {
        let metrics = http::send("GET", &format!("{issuer}/metrics"), &[], "")?.body;
        let line = |outcome: &str| format!("edgepass_fetched_back_total{{outcome=\"{outcome}\"}}");
        ensure!(metrics.contains(&line("same")), "nothing was fetched back: {metrics}");
        for outcome in ["different", "unreachable"] {
            ensure!(!metrics.contains(&line(outcome)), "{metrics}");
        }
        Ok(String::new())
    });
    tally.check("every act is in the audit trail", || {
        let output = system.edgepass(&["audit", "--json"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        for act in ["keys_created", "token_issued", "token_revoked"] {
            ensure!(text.contains(act), "{act} is missing");
        }
        ensure!(!text.contains("eyJ"), "the trail holds a token");
        Ok(format!("{} entries", text.lines().count()))
    });
    tally
}

/// The issuer is killed: the guard goes on with what it holds; a revocation waits to be published.
pub(crate) fn outage(system: &mut System) -> Tally {
    let mut tally = Tally::default();
    let invoices = format!("{}/invoices", system.guard);
    let mut token = String::new();
    tally.check("a token is in use", || {
        token = issue(system, "invoice-reader")?;
        expect(get(&invoices, &token)?, 200, "")
    });
    system.kill_issuer();
    tally.check("with the issuer killed, the guard still accepts it", || {
        std::thread::sleep(Duration::from_secs(9)); // past the freshness window: served as stale
        expect(get(&invoices, &token)?, 200, "")
    });
    tally.check("a revocation is recorded, not published: exit code 3", || {
        let jti = jti(system, &token)?;
        let output = system.edgepass(&["revoke", "--jti", &jti, "--reason", "test"]).output()?;
        ensure!(output.status.code() == Some(3), "{:?}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("recorded, not published"), "{text}");
        Ok(String::new())
    });
    tally.check("a verifier without any copy refuses: exit code 3", || {
        let line = verify(system, &token)?;
        ensure!(line.contains("keys_unavailable"), "{line}");
        Ok(String::new())
    });
    tally
}

/// No refusal and no log line of the whole journey holds a part of a token or a secret.
pub(crate) fn silence(system: &System) -> Tally {
    let mut tally = Tally::default();
    tally.check("nothing that was said holds a part of a token or a secret", || {
        transcript::confide(&system.client_secret);
        for (name, text) in system.said()? {
            ensure!(!text.is_empty(), "{name} logged nothing: there is nothing to look at");
            transcript::hear(&name, &text);
        }
        transcript::check()
    });
    tally
}

fn issue(system: &System, role: &str) -> anyhow::Result<String> {
    let output = system.edgepass(&["issue", "--role", role]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout)?.trim().to_owned();
    transcript::confide(&token);
    Ok(token)
}

fn jti(system: &System, token: &str) -> anyhow::Result<String> {
    let text = piped(system, &["inspect", "-", "--json"], token)?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    value["claims"]["jti"].as_str().map(str::to_owned).context("no jti")
}

fn verify(system: &System, token: &str) -> anyhow::Result<String> {
    let audience = crate::system::AUDIENCE;
    piped(system, &["verify", "-", "--issuer", &system.issuer, "--audience", audience], token)
}

fn piped(system: &System, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    use std::io::Write;
    use std::process::Stdio;

    let mut child = system
        .edgepass(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(input.as_bytes())?;
    Ok(String::from_utf8(child.wait_with_output()?.stdout)?)
}

/// The status, and the code of a refusal.
fn expect(reply: http::Reply, status: u16, code: &str) -> anyhow::Result<String> {
    ensure!(
        reply.status == status && (code.is_empty() || reply.code() == code),
        "{} {} instead of {status} {code}: {}",
        reply.status,
        reply.code(),
        reply.body
    );
    Ok(format!("{status} {code}").trim().to_owned())
}
