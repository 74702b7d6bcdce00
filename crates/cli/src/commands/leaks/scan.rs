//! `edgepass leaks scan`.

use std::collections::BTreeMap;
use std::io::stdin;
use std::path::PathBuf;

use anyhow::{Context, bail};
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_leaks::{Candidate, Kind, Scanner};
use edgepass_verify::policy::duration::DurationText;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::found::{Find, Judge, Place, distinct};
use super::{git, sources};
use crate::commands::source::Source;
use crate::commands::{actor, open_store, record_policy, status_act};
use crate::exit::{Exit, Failure};
use crate::{host, output};

#[derive(clap::Args)]
pub(in crate::commands) struct Args {
    /// Files and folders, and archives (zip, tar, gzip) with what is in them. `.git` is left out: see --git.
    paths: Vec<PathBuf>,
    /// A git repository: every version of every file, of all refs, and objects that no ref leads to.
    #[arg(long, value_name = "REPO")]
    git: Vec<PathBuf>,
    /// Of git repositories only what commits of this time brought, such as 30days.
    #[arg(long, value_name = "DURATION", value_parser = DurationText::parse, requires = "git")]
    since: Option<DurationText>,
    /// A log: a file, or - for stdin.
    #[arg(long, value_name = "FILE|-")]
    log: Vec<PathBuf>,
    /// A report of gitleaks, TruffleHog or kingfisher in JSON, or - for stdin.
    #[arg(long, value_name = "FILE|-")]
    report: Vec<PathBuf>,
    /// Without the issuer's database: tokens of this issuer, by the keys that it publishes.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Revoke every live token that is found, in one act.
    #[arg(long)]
    revoke: bool,
    /// Print SARIF 2.1.0, for code scanning.
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
}

pub(in crate::commands) const EXAMPLES: &str = "\
Examples:
  edgepass leaks scan . --git .
  edgepass leaks scan --git . --since 30days --revoke
  gh run view --log 123 | edgepass leaks scan --log -
  gitleaks detect --report-path report.json; edgepass leaks scan --report report.json
  edgepass leaks scan --issuer https://auth.example --git . --sarif > leaks.sarif

A find counts only if its signature, or the hash of a secret, fits this issuer. Exit code 0: nothing was found;
1: something was; 3: nothing was, but something cannot be read.";

pub(in crate::commands) async fn run(
    args: Args,
    source: &Source,
    json: bool,
) -> anyhow::Result<Exit> {
    let Args { paths, git, since, log, report, issuer, revoke, sarif } = args;
    if paths.is_empty() && git.is_empty() && log.is_empty() && report.is_empty() {
        bail!("name what to scan: a path, --git REPO, --log FILE or --report FILE");
    }
    let judge = match &issuer {
        Some(issuer) => published(issuer).await?,
        None => {
            let config = source.load()?;
            let store = open_store(&config).await?;
            Judge::of_store(config, store).await?
        }
    };
    let begun = host::now();
    let mut candidates: Vec<(Candidate, Place)> = Vec::new();
    // Look-alikes are not kept, however many there are.
    // Nor is one token more often than it can be told: a log may have it in each line.
    let mut told: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let mut sink = |found: Candidate, place: Place| {
        let digest: [u8; 32] = Sha256::digest(found.text.as_bytes()).into();
        let count = told.get(&digest).copied();
        if count.is_some_and(|count| count >= MAX_TOLD)
            || (count.is_none() && !judge.is_real(&found))
        {
            return;
        }
        told.insert(digest, count.unwrap_or_default().saturating_add(1));
        candidates.push((found, place));
    };
    // What cannot be read is told at the end: the rest is scanned, and what is found is told and revoked.
    let mut missed: Vec<String> = Vec::new();
    let mut scanner = Scanner::new()?;
    let mut read = 0_u64;
    let named = |path: &PathBuf| Place::new(&path.display().to_string(), None);
    let mut note = |missed: &mut Vec<String>, done: anyhow::Result<u64>| match done {
        Ok(count) => read = read.saturating_add(count),
        Err(error) => missed.push(edgepass_server::error_chain(error.as_ref())),
    };
    for path in &paths {
        match sources::files(path, &mut missed) {
            Ok(files) => {
                for file in files {
                    let done = sources::file(&file, &named(&file), &mut scanner, &mut sink);
                    note(&mut missed, done);
                }
            }
            Err(error) => note(&mut missed, Err(error)),
        }
    }
    let since = since.map(|since| host::now().minus(since.0).numeric_date().seconds());
    for repository in &git {
        let done = git::scan(repository, since, &mut missed, &mut scanner, &mut sink);
        note(&mut missed, done);
    }
    for path in &log {
        let done = match path.as_os_str() == "-" {
            true => {
                sources::stream(stdin().lock(), &Place::new("stdin", None), &mut scanner, &mut sink)
            }
            false => sources::file(path, &named(path), &mut scanner, &mut sink),
        };
        note(&mut missed, done);
    }
    for path in &report {
        let name = path.display().to_string();
        let done = output::read_text(path).and_then(|text| {
            sources::report(&text, &name, &mut scanner, &mut sink)?;
            Ok(u64::try_from(text.len()).unwrap_or(u64::MAX))
        });
        note(&mut missed, done);
    }
    let mut finds = Vec::new();
    for (candidate, place) in candidates {
        finds.extend(judge.judge(candidate, place).await?);
    }
    let mut finds = distinct(finds);
    if revoke {
        revoke_all(&judge, &mut finds).await?;
    }
    let took = host::now().since(begun).unwrap_or_default().as_secs_f64();
    print(&finds, json, sarif)?;
    output::remark(&format!(
        "{:.1} MB scanned in {took:.1} s; {} found",
        read as f64 / 1e6,
        match finds.len() {
            0 => "nothing".to_owned(),
            count => count.to_string(),
        }
    ));
    for what in missed.iter().take(MAX_MISSED) {
        output::remark(&format!("not scanned: {what}"));
    }
    if missed.len() > MAX_MISSED {
        output::remark(&format!("not scanned: {} more", missed.len().saturating_sub(MAX_MISSED)));
    }
    Ok(match (finds.is_empty(), missed.is_empty()) {
        (false, _) => Exit::Refused,
        (true, false) => Exit::Unavailable,
        (true, true) => Exit::Ok,
    })
}

/// Most places of one token that are told.
const MAX_TOLD: usize = 1_000;
/// Most sources that could not be read and are named.
const MAX_MISSED: usize = 20;

/// The keys that an issuer publishes.
async fn published(issuer: &str) -> anyhow::Result<Judge> {
    let issuer = issuer.trim_end_matches('/');
    if !edgepass_verify::policy::is_issuer_url(issuer) {
        bail!("--issuer must be the issuer's https URL (http only on loopback)");
    }
    let client = client()?;
    let url = format!("{issuer}/{}", edgepass_issuer::paths::JWK_SET);
    let away = |error: reqwest::Error| {
        let reason = edgepass_server::error_chain(&error);
        anyhow::Error::new(Failure::Unavailable)
            .context(format!("{url} cannot be fetched: {reason}"))
    };
    let response = client.get(&url).send().await.and_then(reqwest::Response::error_for_status);
    let mut response = response.map_err(away)?;
    let body = edgepass_client::bounded(&mut response, MAX_KEYS).await.ok().flatten();
    let body = body.with_context(|| format!("{url} is no JWK Set"))?;
    Judge::of_keys(issuer.to_owned(), &String::from_utf8_lossy(&body))
}

/// Follows no redirects: requests may hold tokens.
fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .user_agent(edgepass_client::USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()?)
}

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// The largest JWK Set, in octets.
const MAX_KEYS: usize = 1 << 20;
/// Places that the reason of an act names.
const MAX_PLACES: usize = 8;
/// Tokens of one request to the issuer.
const MAX_TOKENS: usize = 500;

/// Revokes every live token. With the database in one act; else by holding them, which the issuer answers without
/// telling what it did.
async fn revoke_all(judge: &Judge, finds: &mut [Find]) -> anyhow::Result<()> {
    let is_live = |find: &Find| {
        find.kind == Kind::Token
            && ["live", "suspended", "not expired"].contains(&find.state.as_str())
    };
    let mut ids: Vec<String> =
        finds.iter().filter(|find| is_live(find)).map(|it| it.id.clone()).collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Ok(());
    }
    match judge {
        Judge::Store { config, store, .. } => {
            let live = finds.iter().filter(|find| is_live(find));
            let places: Vec<String> = live.map(|find| said(&find.place)).take(MAX_PLACES).collect();
            let mut reason = format!("leak: found by a scan in {}", places.join(", "));
            while reason.len() > 1024 {
                reason.pop();
            }
            let policy = record_policy(config, store).await?;
            let act = NewAct {
                change: StatusChange::Revoke,
                selection: Selection::new(ids, Default::default())?,
                reason,
                actor: actor(),
                policy: policy.number(),
                report: None,
                at: host::now(),
            };
            let (_, published) = status_act::act_and_publish(config, store, &act).await?;
            output::remark(&format!("revoked: {}", published.says()));
        }
        Judge::Published { issuer, .. } => {
            let client = client()?;
            let texts: Vec<&str> =
                finds.iter().filter(|find| is_live(find)).map(|find| find.text.as_str()).collect();
            for tokens in texts.chunks(MAX_TOKENS) {
                let url = format!("{issuer}/leaks/revoke");
                let body = json!({ "tokens": tokens }).to_string();
                let request =
                    client.post(&url).header("content-type", "application/json").body(body);
                let sent = request.send().await.and_then(reqwest::Response::error_for_status);
                sent.map_err(|error| {
                    let reason = edgepass_server::error_chain(&error.without_url());
                    anyhow::Error::new(Failure::Unavailable).context(format!("{url}: {reason}"))
                })?;
            }
        }
    }
    finds.iter_mut().filter(|find| is_live(find)).for_each(|find| find.is_revoked = true);
    Ok(())
}

fn said(place: &Place) -> String {
    let line = if place.line > 0 { format!(":{}", place.line) } else { String::new() };
    let commit = place.commit.as_deref().and_then(|commit| commit.get(..10));
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("{}{line}{commit}", place.file)
}

fn print(finds: &[Find], json: bool, sarif: bool) -> anyhow::Result<()> {
    if sarif {
        return output::line(&serde_json::to_string_pretty(&as_sarif(finds))?);
    }
    for find in finds {
        if json {
            output::json(&find.as_json())?;
            continue;
        }
        let role = find.role.as_ref().map(|role| format!(" of role {role}")).unwrap_or_default();
        let state = if find.is_revoked { "revoked now".to_owned() } else { find.state.clone() };
        let (kind, id) = (find.kind_name(), &find.id);
        output::line(&format!("{}: {kind} {id}{role}: {state}", said(&find.place)))?;
    }
    Ok(())
}

/// Finds as SARIF 2.1.0.
fn as_sarif(finds: &[Find]) -> Value {
    let results: Vec<Value> = finds
        .iter()
        .map(|find| {
            let rule = match find.kind {
                Kind::Token => "edgepass-token",
                Kind::Secret => "edgepass-client-secret",
            };
            let state = if find.is_revoked { "revoked now" } else { &find.state };
            json!({
                "ruleId": rule,
                "level": if find.state == "live" && !find.is_revoked { "error" } else { "warning" },
                "message": { "text": format!("{} {}: {state}", find.kind_name(), find.id) },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": uri(&find.place.file) },
                    "region": { "startLine": find.place.line.max(1) },
                } }],
                "partialFingerprints": { "edgepass/v1": find.id },
            })
        })
        .collect();
    let rule = |id: &str, text: &str| json!({ "id": id, "shortDescription": { "text": text } });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "edgepass",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": [
                    rule("edgepass-token", "An access token of Edgepass"),
                    rule("edgepass-client-secret", "A client secret of Edgepass"),
                ],
            } },
            "results": results,
        }],
    })
}

/// A path as a URI reference (RFC 3986 §4.2), as SARIF wants it.
fn uri(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,=@".contains(&byte);
    let encoded = path.bytes().map(|byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}
