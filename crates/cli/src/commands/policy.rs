//! `edgepass policy`.

use std::time::Duration;

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::Mistakes;
use edgepass_issuer::policy::difference::{Change, Difference, differences};
use edgepass_issuer::policy::review::{Remark, review};
use edgepass_issuer::policy::version::{PolicyVersion, StoredPolicy};
use edgepass_issuer::storage::PolicyStore;
use edgepass_server::admin::policy::{VersionQuery, version};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::examples;
use super::published::{self, Server};
use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::remote::{Remote, not_of_an_issuer};
use crate::{host, output};

#[derive(clap::Subcommand)]
pub(super) enum Act {
    /// Check the whole configuration. Exit code 1 if it has mistakes or a role's agreement is not in
    /// force.
    #[command(after_help = examples::POLICY_CHECK)]
    Check {
        /// Exit code 1 also for warnings.
        #[arg(long)]
        strict: bool,
    },
    /// Show what the configuration changes in the policy that `serve` uses. Exit code 1 if anything.
    #[command(after_help = examples::POLICY_DIFF)]
    Diff,
    /// Let a running `serve` read the configuration again. It keeps its policy if the new one has
    /// mistakes.
    #[command(after_help = examples::POLICY_APPLY)]
    Apply,
    /// Print a stored version of the policy, as JSON. Default: the one that `serve` uses.
    #[command(after_help = examples::POLICY_SHOW)]
    Show {
        /// Number of the version, as in `edgepass audit`.
        number: Option<u64>,
    },
}

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    match act {
        Act::Check { strict } => {
            source.refuse_environment("policy check")?;
            check(source, strict, json)
        }
        Act::Diff => diff(source, json).await,
        Act::Apply => {
            source.refuse_environment("policy apply")?;
            apply(source, json).await
        }
        Act::Show { number } => show(source, number).await,
    }
}

/// One line of the check: where, how bad, and what.
struct Line {
    place: Option<edgepass_issuer::config::Place>,
    level: &'static str,
    message: String,
}

fn check(source: &Source, strict: bool, json: bool) -> anyhow::Result<Exit> {
    let lines: Vec<Line> = match source.all() {
        Ok(installation) => {
            let now = host::now();
            let of = |config: &Config| -> Vec<Line> {
                let environment = config.environment.as_deref();
                let line = |remark: Remark| Line {
                    place: installation.places.of(remark.kind, environment, &remark.name).cloned(),
                    level: if remark.concern.refuses() { "refused" } else { "warning" },
                    message: format!("{} {}: {}", remark.kind.name(), remark.name, remark.concern),
                };
                review(config, now).into_iter().map(line).collect()
            };
            installation.environments.iter().flat_map(of).collect()
        }
        Err(error) => match error.downcast::<Mistakes>() {
            Ok(Mistakes(mistakes)) => mistakes
                .into_iter()
                .map(|error| Line {
                    place: Some(error.place),
                    level: "mistake",
                    message: error.mistake.to_string(),
                })
                .collect(),
            Err(other) => return Err(other),
        },
    };
    let count = |level| lines.iter().filter(|line| line.level == level).count();
    let (mistakes, refused, warnings) = (count("mistake"), count("refused"), count("warning"));
    let is_right = mistakes == 0 && refused == 0 && (warnings == 0 || !strict);
    if json {
        let value = |line: &Line| {
            json!({
                "file": line.place.as_ref().map(|place| &place.file),
                "line": line.place.as_ref().map(|place| place.line),
                "level": line.level,
                "message": line.message,
            })
        };
        let findings: Vec<Value> = lines.iter().map(value).collect();
        output::json(&json!({ "ok": is_right, "findings": findings }))?;
    } else {
        for Line { place, level, message } in &lines {
            let place = place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
            output::line(&format!("{place}{level}: {message}"))?;
        }
        output::line(&format!("mistakes: {mistakes}, refused: {refused}, warnings: {warnings}"))?;
    }
    Ok(if is_right { Exit::Ok } else { Exit::Refused })
}

async fn diff(source: &Source, json: bool) -> anyhow::Result<Exit> {
    if let Some(remote) = source.remote()? {
        return diff_remote(source, &remote, json).await;
    }
    let configs = chosen(source)?;
    let all = source.all()?.environments;
    let server = server(&all)?;
    let other = server.as_ref().map(|server| unserved(&all, server)).unwrap_or_default();
    for (is_new, name) in &other {
        let change = if *is_new { Change::Added } else { Change::Removed };
        tell(None, &Difference { kind: "environment", name: (*name).to_owned(), change }, json)?;
    }
    let mut any = !other.is_empty();
    let is_new = |config: &Config| {
        other.iter().any(|(is_new, name)| *is_new && config.environment.as_deref() == Some(*name))
    };
    for config in configs.into_iter().filter(|config| !is_new(config)) {
        let Some(running) = running(&config).await? else {
            bail!("`edgepass serve` has never used a policy here; start it first");
        };
        let found = differences(&running.version, &config.policy.version())?;
        any |= !found.is_empty();
        for difference in &found {
            tell(config.environment.as_deref(), difference, json)?;
        }
    }
    if !any && !json {
        output::line("no difference")?;
    }
    Ok(if any { Exit::Refused } else { Exit::Ok })
}

/// Compares the files on this machine with the policy that an issuer on another one uses.
async fn diff_remote(source: &Source, remote: &Remote, json: bool) -> anyhow::Result<Exit> {
    let environments = source.files()?.environments;
    let issuer = remote.issuer();
    let Some(config) = environments.iter().find(|config| config.issuer == issuer) else {
        bail!("the configuration on this machine is not one of {issuer}");
    };
    let used = &remote.get("policy", &VersionQuery::default()).await?;
    let version = PolicyVersion {
        text: used["policy"].to_string(),
        digest: used["digest"].as_str().unwrap_or_default().to_owned(),
    };
    let found = differences(&version, &config.policy.version())?;
    for difference in &found {
        tell(config.environment.as_deref(), difference, json)?;
    }
    if found.is_empty() && !json {
        output::line("no difference")?;
    }
    Ok(if found.is_empty() { Exit::Ok } else { Exit::Refused })
}

fn tell(
    environment: Option<&str>,
    Difference { kind, name, change }: &Difference,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        let (how, member, before, after) = match change {
            Change::Added => ("added", None, None, None),
            Change::Removed => ("removed", None, None, None),
            Change::Changed { member, .. } if member == "authentication" => {
                ("changed", Some(member), None, None)
            }
            Change::Changed { member, before, after } => {
                ("changed", Some(member), Some(before), Some(after))
            }
        };
        return output::json(&json!({
            "environment": environment, "kind": kind, "name": name, "change": how,
            "member": member, "before": before, "after": after,
        }));
    }
    let of = environment.map_or_else(String::new, |environment| format!("{environment}: "));
    if ends_tokens(kind, change) {
        output::remark(&format!(
            "{of}once this is applied, live tokens under the agreement {name} that it no longer covers are revoked for \
             good; `edgepass tokens --agreement {name} --live` lists them"
        ));
    }
    if *kind == "approval" && matches!(change, Change::Added) {
        output::remark(&format!(
            "{of}live tokens of the roles of {name} stay until they expire; `edgepass revoke --role ROLE` ends them"
        ));
    }
    output::line(&match change {
        Change::Added => format!("+ {of}{kind} {name}"),
        Change::Removed => format!("- {of}{kind} {name}"),
        // The hash of a secret says nothing to a reader.
        Change::Changed { member, .. } if member == "authentication" => {
            format!("~ {of}{kind} {name}: authenticates otherwise, or by another key or secret")
        }
        Change::Changed { member, before, after } => {
            let (before, after) = (shown(member, before), shown(member, after));
            format!("~ {of}{kind} {name}: {member} {before} -> {after}")
        }
    })
}

/// Whether a change ends an agreement, or ends it sooner.
fn ends_tokens(kind: &str, change: &Change) -> bool {
    kind == "agreement"
        && match change {
            Change::Removed => true,
            Change::Changed { member, before, after } if member == "end" => match after.as_u64() {
                None => false,
                Some(after) => before.as_u64().is_none_or(|before| after < before),
            },
            Change::Changed { member, before, after } if member == "start" => {
                after.as_u64() > before.as_u64()
            }
            _ => false,
        }
}

/// A value of a policy for people: times as dates.
fn shown(member: &str, value: &Value) -> String {
    match value.as_u64().filter(|_| ["start", "end"].contains(&member)) {
        Some(seconds) => output::date(seconds),
        None => value.to_string(),
    }
}

/// Longest wait until `serve` uses the new policy.
const WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

async fn apply(source: &Source, json: bool) -> anyhow::Result<Exit> {
    if let Some(remote) = source.remote()? {
        let applied = &remote.post("policy/apply", &json!({})).await?;
        if applied["applied"] != true {
            return Err(not_of_an_issuer());
        }
        return tell_applied(json);
    }
    let configs = source.all()?.environments;
    let Some(server) = server(&configs)? else {
        return Err(anyhow::Error::new(Failure::Unavailable).context(
            "no `edgepass serve` runs on this data (or one does that knows no environments); it reads the policy when it starts",
        ));
    };
    if !unserved(&configs, &server).is_empty() {
        return Err(anyhow::Error::new(Failure::Unavailable).context(
            "the configuration has other environments than `edgepass serve` serves; restart it",
        ));
    }
    let process = server.process;
    kill_process(process, Signal::HUP)
        .context("`edgepass serve` cannot be told; run as its user")?;
    let mut stores = Vec::new();
    for config in &configs {
        stores.push((super::open_store(config).await?, config.policy.version()));
    }
    let wait = async {
        loop {
            let mut is_used = true;
            for (store, version) in &stores {
                let running = store.policy(None).await?;
                is_used &= running.is_some_and(|running| running.version == *version);
            }
            if is_used {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(WAIT, wait).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            return Err(anyhow::Error::new(Failure::Unavailable)
                .context("`edgepass serve` has kept its policy; its log says why"));
        }
    }
    tell_applied(json)
}

fn tell_applied(json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json(&json!({ "applied": true }))?;
    } else {
        output::line("`edgepass serve` uses the policy now")?;
    }
    Ok(Exit::Ok)
}

async fn show(source: &Source, number: Option<u64>) -> anyhow::Result<Exit> {
    if let Some(remote) = source.remote()? {
        output::json(&remote.get("policy", &VersionQuery { number }).await?)?;
        return Ok(Exit::Ok);
    }
    let config = source.load()?;
    let store = super::open_store(&config).await?;
    let Some(found) = store.policy(number).await? else {
        return Err(anyhow::Error::new(Failure::Refused).context("there is no such policy version"));
    };
    output::json(&version(&found))?;
    Ok(Exit::Ok)
}

/// The process that serves one of these environments.
fn server(configs: &[Config]) -> anyhow::Result<Option<Server>> {
    for config in configs {
        if let Some(server) = published::server(config)? {
            return Ok(Some(server));
        }
    }
    Ok(None)
}

/// The environments that the configuration has and the process does not serve (`true`), and those of
/// the process that the configuration has not.
fn unserved<'a>(configs: &'a [Config], server: &'a Server) -> Vec<(bool, &'a str)> {
    let own: Vec<&str> = configs.iter().filter_map(|own| own.environment.as_deref()).collect();
    let served: Vec<&str> = server.environments.iter().map(String::as_str).collect();
    let only = |these: &[&'a str], others: &[&'a str], is_new: bool| -> Vec<(bool, &'a str)> {
        let only = these.iter().filter(|name| !others.contains(name));
        only.map(|name| (is_new, *name)).collect()
    };
    [only(&own, &served, true), only(&served, &own, false)].concat()
}

/// The environment that was named, or else all.
fn chosen(source: &Source) -> anyhow::Result<Vec<Config>> {
    match &source.environment {
        Some(_) => Ok(vec![source.load()?]),
        None => Ok(source.all()?.environments),
    }
}

/// The policy that `serve` uses, or used last.
async fn running(config: &Config) -> anyhow::Result<Option<StoredPolicy>> {
    let store = super::open_store(config).await?;
    let found = store.policy(None).await?;
    store.close().await;
    Ok(found)
}
