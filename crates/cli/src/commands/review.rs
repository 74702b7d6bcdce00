//! `edgepass review`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::client::Authentication;
use edgepass_issuer::config::{EntryKind, Place};
use edgepass_issuer::policy::operator_scopes;
use edgepass_issuer::policy::use_review::{
    Fix, OldPolicy, Review, RoleUse, UseFinding, review_use,
};
use edgepass_issuer::policy::version::StoredPolicy;
use edgepass_issuer::storage::{Page, PolicyStore, TokenFilter, TokenStore, UsageStore};
use edgepass_issuer::usage::{UsageBy, UsageFilter, complete_since_ms, expected_reporters};
use edgepass_store::AnyStore;
use edgepass_verify::policy::duration::DurationText;
use serde_json::{Value, json};
use similar::TextDiff;
use toml_edit::{DocumentMut, Item, Table};

use super::source::Source;
use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Look at this time until now. Entries that are younger are left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = DurationText::parse, default_value = "90days")]
    period: DurationText,
    /// Find secrets that are older than this.
    #[arg(long, value_name = "DURATION", value_parser = DurationText::parse, default_value = "365days")]
    max_secret_age: DurationText,
    /// Write the changes to the configuration, after a question.
    #[arg(long)]
    fix: bool,
    /// With --fix: ask nothing.
    #[arg(long, requires = "fix")]
    yes: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass review
  edgepass review --for 30days --json
  edgepass review --fix

Looks at roles, clients, scopes, lifetimes, networks, secrets and tokens that nobody used, by what guards
report (docs/usage.md). Of a role whose use is not completely known for the whole time nothing is said. Exit code 1
if anything is found.";

const DAY: u64 = 24 * 60 * 60;
/// Sums of one role, and its newest tokens that are looked at.
const MOST: u32 = 1_000;

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    if args.period.0.as_secs() < DAY {
        bail!("--for: look at one day at least");
    }
    let config = source.load()?;
    let installation = source.all()?;
    let store = super::open_store(&config).await?;
    let now = host::now().numeric_date().seconds();
    let how = Review {
        now,
        period: args.period.0.as_secs(),
        secret_age: Some(args.max_secret_age.0.as_secs()),
    };
    let begin = now.saturating_sub(how.period);
    let (old, secrets) = history(&config, &store, begin, now).await?;
    let (uses, unknown) = uses(&config, &store, begin).await?;
    let found = review_use(&config.policy, &old, &uses, &secrets, &how);
    let environment = config.environment.as_deref();
    let place =
        |found: &UseFinding| installation.places.of(found.kind, environment, &found.name).cloned();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for one in &found {
        let place = place(one);
        let diff = match &place {
            Some(place) => {
                let text = read(place)?;
                let alone = fixed(&text, one, environment)?;
                if let Some(alone) = &alone {
                    let whole = files.get(&place.file).cloned().unwrap_or_else(|| text.clone());
                    let whole = fixed(&whole, one, environment)?.unwrap_or(whole);
                    files.insert(place.file.clone(), whole);
                    difference(&place.file, &text, alone)
                } else {
                    String::new()
                }
            }
            None => String::new(),
        };
        tell(one, place.as_ref(), &diff, json)?;
    }
    if !json {
        for role in &unknown {
            output::remark(&format!(
                "role {role} was not looked at: its use is not completely known for {} (`edgepass usage`)",
                args.period
            ));
        }
        if found.is_empty() {
            output::line("nothing that nobody used was found")?;
        }
    }
    if args.fix && !files.is_empty() {
        write(source, &files, args.yes)?;
    }
    Ok(if found.is_empty() { Exit::Ok } else { Exit::Refused })
}

/// The policy at the begin, and since when, in seconds, each client has had its newest secret.
async fn history(
    config: &Config,
    store: &AnyStore,
    begin: u64,
    now: u64,
) -> anyhow::Result<(OldPolicy, BTreeMap<String, u64>)> {
    let mut secrets = BTreeMap::new();
    for client in &config.policy.clients {
        if let Authentication::Secrets(dated) = &client.authentication {
            let hashes: Vec<String> = dated.iter().map(|secret| secret.hash.to_string()).collect();
            secrets.insert(client.id.clone(), (hashes, now));
        }
    }
    let mut old = None;
    let mut version = store.policy(None).await?;
    while let Some(StoredPolicy { number, served_since_ms, version: stored, .. }) = version {
        if served_since_ms > 0 {
            let since = served_since_ms / 1000;
            let policy: Value = serde_json::from_str(&stored.text).unwrap_or_default();
            for (hashes, oldest) in secrets.values_mut() {
                if hashes.iter().all(|hash| stored.text.contains(hash.as_str())) {
                    *oldest = since.min(*oldest);
                }
            }
            if since <= begin && old.is_none() {
                old = Some(OldPolicy::of(&policy));
            }
        }
        version = match number.checked_sub(1).filter(|number| *number > 0) {
            Some(before) => store.policy(Some(before)).await?,
            None => None,
        };
    }
    let secrets = secrets.into_iter().map(|(id, (_, since))| (id, since)).collect();
    Ok((old.unwrap_or_default(), secrets))
}

/// The use of each role, and the roles whose use is not completely known.
async fn uses(
    config: &Config,
    store: &AnyStore,
    begin: u64,
) -> anyhow::Result<(BTreeMap<String, RoleUse>, Vec<String>)> {
    let reporters = store.reporters().await?;
    let (mut uses, mut unknown) = (BTreeMap::new(), Vec::new());
    for role in &config.policy.roles {
        if role.scope.iter().any(operator_scopes::is_one) {
            continue;
        }
        let is_complete = role.audiences.iter().all(|audience| {
            let expected = expected_reporters(&config.policy, audience);
            let since = complete_since_ms(&reporters, audience, &expected, host::now().0);
            since.is_some_and(|since| since / 1000 <= begin)
        });
        if !is_complete {
            unknown.push(role.name.clone());
            continue;
        }
        let filter = UsageFilter {
            role: Some(role.name.clone()),
            client_id: None,
            since_day: begin.checked_div(DAY).unwrap_or_default(),
        };
        let scopes = store.usage_sums(&filter, UsageBy::Scope, MOST).await?;
        let clients = store.usage_sums(&filter, UsageBy::Client, MOST).await?;
        // Sums that were cut, or whose routes are not known, say nothing about what was not used.
        let routes = store.usage_sums(&filter, UsageBy::Route, MOST).await?;
        let is_cut = [&scopes, &clients, &routes].iter().any(|sums| sums.len() >= MOST as usize);
        if is_cut || routes.iter().any(|sum| sum.name.is_empty() && sum.accepted > 0) {
            unknown.push(role.name.clone());
            continue;
        }
        let of_role = TokenFilter { role: Some(role.name.clone()), ..TokenFilter::default() };
        let records = store.tokens(&of_role, Page::first(true, MOST)).await?;
        let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
        let mut used = store.token_uses(&seqs).await?;
        let words =
            scopes.iter().filter(|sum| sum.accepted > 0).flat_map(|sum| sum.name.split(' '));
        let by_client = clients.iter().filter(|sum| sum.accepted > 0);
        uses.insert(
            role.name.clone(),
            RoleUse {
                accepted: clients.iter().map(|sum| sum.accepted).sum(),
                scopes: words.map(str::to_owned).collect(),
                clients: by_client.map(|sum| (sum.name.clone(), sum.accepted)).collect(),
                tokens: records
                    .into_iter()
                    .map(|record| {
                        let own = used.remove(&record.seq);
                        (record, own)
                    })
                    .collect(),
            },
        );
    }
    Ok((uses, unknown))
}

fn read(place: &Place) -> anyhow::Result<String> {
    fs::read_to_string(&place.file).with_context(|| format!("{} cannot be read", place.file))
}

/// The text of a configuration with one fix. `None`: the fix is not in the configuration.
fn fixed(
    text: &str,
    found: &UseFinding,
    environment: Option<&str>,
) -> anyhow::Result<Option<String>> {
    let mut document: DocumentMut = text.parse().context("the configuration is no TOML")?;
    let (table, name) = match found.kind {
        EntryKind::Role => ("role", "name"),
        EntryKind::Client => ("client", "id"),
        _ => return Ok(None),
    };
    let is_it = |entry: &Table| {
        let text = |member: &str| entry.get(member).and_then(Item::as_str);
        text(name) == Some(found.name.as_str()) && text("environment") == environment
    };
    let Some(entries) = document.get_mut(table).and_then(Item::as_array_of_tables_mut) else {
        return Ok(None);
    };
    let Some(at) = entries.iter().position(is_it) else { return Ok(None) };
    let Some(entry) = entries.get_mut(at) else { return Ok(None) };
    match &found.change {
        Fix::Remove => {
            entries.remove(at);
            if found.kind == EntryKind::Role {
                let clients = document.get_mut("client").and_then(Item::as_array_of_tables_mut);
                for client in clients.into_iter().flat_map(|clients| clients.iter_mut()) {
                    let of = client.get("environment").and_then(Item::as_str);
                    if of == environment {
                        remove_item(client, "roles", &found.name);
                    }
                }
            }
        }
        Fix::RemoveItem { list, item } => remove_item(entry, list, item),
        Fix::Lifetime(seconds) => {
            let text = DurationText(std::time::Duration::from_secs(*seconds)).to_string();
            entry.insert("lifetime", toml_edit::value(text));
        }
        Fix::Networks(networks) => {
            let networks: toml_edit::Array = networks.iter().collect();
            entry.insert("networks", toml_edit::value(networks));
        }
        Fix::NewSecret | Fix::Revoke(_) => return Ok(None),
    }
    Ok(Some(document.to_string()))
}

fn remove_item(entry: &mut Table, list: &str, item: &str) {
    if let Some(items) = entry.get_mut(list).and_then(Item::as_array_mut) {
        items.retain(|own| own.as_str() != Some(item));
    }
}

fn difference(file: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(2).header(file, file).to_string()
}

fn tell(found: &UseFinding, place: Option<&Place>, diff: &str, json: bool) -> anyhow::Result<()> {
    let command = match &found.change {
        Fix::NewSecret => Some(format!("edgepass client-secret, for client {}", found.name)),
        Fix::Revoke(ids) => {
            let ids: Vec<String> = ids
                .iter()
                .map(|id| format!("edgepass revoke --jti {id} --reason unused"))
                .collect();
            Some(ids.join("\n"))
        }
        _ => None,
    };
    if json {
        return output::json(&json!({
            "kind": found.kind.name(),
            "name": found.name,
            "what": found.what,
            "file": place.map(|place| &place.file),
            "line": place.map(|place| place.line),
            "diff": (!diff.is_empty()).then_some(diff),
            "command": command,
        }));
    }
    let at = place.map(|place| format!("{place}: ")).unwrap_or_default();
    output::line(&format!("{at}{} {}: {}", found.kind.name(), found.name, found.what))?;
    if !diff.is_empty() {
        output::line(diff.trim_end())?;
    }
    if let Some(command) = command {
        output::line(&command)?;
    }
    output::line("")
}

/// Writes the changed files, after a question.
fn write(source: &Source, files: &BTreeMap<String, String>, is_sure: bool) -> anyhow::Result<()> {
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    if !is_sure {
        if !stdin().is_terminal() {
            bail!("--fix asks before it writes; without a terminal add --yes");
        }
        output::line(&format!("write these changes to {}? [y/N]", names.join(", ")))?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            output::line("nothing was written")?;
            return Ok(());
        }
    }
    let whole: Vec<(PathBuf, String)> =
        files.iter().map(|(name, text)| (PathBuf::from(name), text.clone())).collect();
    source
        .with_files(&whole)
        .context("the changes together would break the configuration; nothing was written")?;
    for (name, text) in files {
        let file = PathBuf::from(name);
        // Beside it first: an interrupted write leaves the old one whole.
        let new = file.with_extension("toml.new");
        fs::write(&new, text)
            .and_then(|()| fs::metadata(&file))
            .and_then(|about| fs::set_permissions(&new, about.permissions()))
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    output::line(&format!(
        "written: {}; `edgepass policy check`, then `edgepass policy apply`",
        names.join(", ")
    ))
}
