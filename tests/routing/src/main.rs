//! Reads a policy with requests from each line and prints the route that the guard takes for each
//! request.
//!
//! In: `{"policy": {...}, "requests": [[method, path], ...]}`. Out: `{"error": "..."}`, or
//! `{"taken": [number of the route, or null if the guard answers by itself, ...]}`.

#[path = "../../../worker/src/fold.rs"]
mod fold;
#[path = "../../../worker/src/overlap.rs"]
mod overlap;
#[path = "../../../worker/src/policy.rs"]
#[allow(dead_code, reason = "routes alone are looked at")]
mod policy;
#[path = "../../../worker/src/policy_error.rs"]
mod policy_error;
#[path = "../../../worker/src/request_target.rs"]
#[allow(dead_code, reason = "paths alone are looked at")]
mod request_target;
#[path = "../../../worker/src/route.rs"]
#[allow(dead_code, reason = "routes alone are looked at")]
mod route;
#[path = "../../../worker/src/untrusted.rs"]
mod untrusted;

use std::io::{BufRead, Write, stdin, stdout};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::policy::{GuardPolicy, PolicyText};
use crate::request_target::RequestTarget;
use crate::route::Matched;

#[derive(Deserialize)]
struct Line {
    policy: Value,
    requests: Vec<(String, String)>,
}

fn main() -> anyhow::Result<()> {
    for line in stdin().lock().lines() {
        let answer = answer(serde_json::from_str(&line?)?);
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

fn answer(line: Line) -> Value {
    let read = serde_json::from_value::<PolicyText>(line.policy);
    let policy = read
        .map_err(|error| error.to_string())
        .and_then(|text| GuardPolicy::try_from(text).map_err(|error| error.to_string()));
    match policy {
        Err(error) => json!({ "error": error }),
        Ok(policy) => {
            let taken = |(method, path): &(String, String)| taken(&policy, method, path);
            json!({ "taken": line.requests.iter().map(taken).collect::<Vec<_>>() })
        }
    }
}

fn taken(policy: &GuardPolicy, method: &str, path: &str) -> Option<usize> {
    let url = format!("https://api.example{path}");
    match policy.find(&RequestTarget::of(&url).ok()?, method) {
        Matched::Route(route) => policy.routes.iter().position(|own| std::ptr::eq(own, route)),
        _ => None,
    }
}
