//! Checks of the issuer over HTTP, and of several processes on one database.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{DEADLINE, expect, issue, jti, verify};
use crate::http::{self, get, post_form};
use crate::system::System;
use crate::tally::Tally;

/// Run the checks against a running system.
pub(crate) fn checks(system: &System) -> Tally {
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
    tally.check("a wrong client secret gives no token", || {
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
    tally.check("a revocation by another process is noticed and published", || {
        let token = issue(system, "invoice-reader")?;
        let jti = jti(system, &token)?;
        let start = Instant::now();
        let output = system.edgepass(&["revoke", "--jti", &jti, "--reason", "test"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The time is printed and not asserted, since a slow machine is no failure.
        Ok(format!("the whole command took {} ms", start.elapsed().as_millis()))
    });
    tally.check("`edgepass verify` gives the guard's verdict", || {
        let token = issue(system, "invoice-reader")?;
        let line = verify(system, &token)?;
        ensure!(line.starts_with("accepted"), "{line}");
        Ok(String::new())
    });
    tally.check(
        "`edgepass doctor` finds no problem and times the refusal of a probe token",
        || {
            let url = format!("{}/invoices", system.guard);
            let output = system.edgepass(&["doctor", "--url", &url]).output()?;
            let text = String::from_utf8(output.stdout)?;
            ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            let probe = text.lines().find(|line| line.contains("after its revocation"));
            Ok(probe.context("no probe")?.replace("ok    probe", "").trim().to_owned())
        },
    );
    tally.check("published documents are the same when fetched back", || {
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
