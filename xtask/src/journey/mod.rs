//! The journey of a token: issued, used, refused beyond its scopes, revoked, and refused.

pub(crate) mod guard;
pub(crate) mod issuer;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::http::{self, get};
use crate::system::System;
use crate::tally::Tally;
use crate::transcript;

/// The revocation deadline of the default settings.
const DEADLINE: Duration = Duration::from_secs(10);

/// Run the journey, step by step.
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
        let expected = "Bearer realm=\"edgepass\", scope=\"invoices:read\"";
        ensure!(reply.header("www-authenticate") == expected, "challenge");
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
        let age = head_age(system)?;
        Ok(format!(
            "revocation took effect after {:.2} s, deadline {DEADLINE:?}; the issuer signed the guard's last \
             status head {:.2} s ago",
            bit.as_secs_f64(),
            age.as_secs_f64(),
        ))
    });
    tally.check("see who used it: the guard has reported", || {
        let (jti, since) = (jti(system, &token)?, Instant::now());
        loop {
            // Any request lets the guard report what it has counted.
            get(&invoices, &token)?;
            let output = system.edgepass(&["tokens", "--jti", &jti, "--json"]).output()?;
            let record: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            if let (Some(1..), Some(refusals @ 2..)) =
                (record["uses"].as_u64(), record["refusals"].as_u64())
            {
                return Ok(format!("{} accepted, {refusals} refused", record["uses"]));
            }
            ensure!(since.elapsed() < REPORTED_WITHIN, "no report yet: {record}");
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    tally.check("write with another one twice: a rule finds it", || {
        let other = issue(system, "invoice-reader")?;
        let jti = jti(system, &other)?;
        let bearer = format!("Bearer {other}");
        let since = Instant::now();
        loop {
            let reply = http::send("POST", &invoices, &[("authorization", &bearer)], "")?;
            expect(reply, 403, "scope_insufficient")?;
            let output = system.edgepass(&["alerts", "--json"]).output()?;
            let text = String::from_utf8(output.stdout)?;
            if let Some(line) = text.lines().find(|line| line.contains(&jti)) {
                let found: serde_json::Value = serde_json::from_str(line)?;
                return Ok(format!("{}: {}", found["rule"], found["evidence"]));
            }
            ensure!(since.elapsed() < REPORTED_WITHIN, "nothing was found");
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    tally
}

/// The guard of the demo reports after a second.
const REPORTED_WITHIN: Duration = Duration::from_secs(15);

/// Kill the issuer. The guard goes on with its copies; a revocation is recorded but not published.
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
        std::thread::sleep(Duration::from_secs(9)); // past the freshness lifetime: served as stale
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
    tally.check("a verifier without copies refuses: exit code 3", || {
        let line = verify(system, &token)?;
        ensure!(line.contains("keys_unavailable"), "{line}");
        Ok(String::new())
    });
    tally
}

/// Check that no refusal and no log line of the journey contains a part of a token or a secret.
pub(crate) fn silence(system: &System) -> Tally {
    let mut tally = Tally::default();
    tally.check("no refusal or log contains a part of a token or a secret", || {
        transcript::confide(&system.client_secret);
        for (name, text) in system.logs()? {
            ensure!(!text.is_empty(), "{name} is empty, so nothing can be checked");
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

/// The age of the last status head that the guard holds.
fn head_age(system: &System) -> anyhow::Result<Duration> {
    let bearer = format!("Bearer {}", system.metrics_token);
    let url = format!("{}/.edgepass/metrics", system.guard);
    let reply = http::send("GET", &url, &[("authorization", &bearer)], "")?;
    ensure!(reply.status == 200, "the guard's counters: status {}", reply.status);
    let name = "edgepass_guard_status_head_age_milliseconds ";
    let age = reply.body.lines().find_map(|line| line.strip_prefix(name));
    let age = age.context("the guard holds no status head")?.trim().parse().context("the age")?;
    Ok(Duration::from_millis(age))
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

/// Check the status and the code of a reply; an empty `code` matches any. Return both as text.
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
