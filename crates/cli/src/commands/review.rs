//! `edgepass review`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use anyhow::{Context, bail};
use edgepass_issuer::config::{EntryKind, Place};
use edgepass_issuer::policy::use_history::review;
use edgepass_issuer::policy::use_review::{Fix, Review, UseFinding};
use edgepass_server::admin::review::{self as admin, ReviewAnswer, ReviewQuery};
use edgepass_verify::policy::duration::DurationText;
use serde_json::json;
use similar::TextDiff;
use toml_edit::{DocumentMut, Item, Table};

use super::source::Source;
use crate::exit::Exit;
use crate::remote::not_of_an_issuer;
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

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    if args.period.0.as_secs() < DAY {
        bail!("--for: look at one day at least");
    }
    let period = args.period.0.as_secs();
    let secret_age = args.max_secret_age.0.as_secs();
    let ReviewAnswer { findings: found, unknown, unreviewed, environment } =
        match source.remote()? {
            Some(remote) => {
                let query = ReviewQuery { period: Some(period), secret_age: Some(secret_age) };
                serde_json::from_value(remote.get("review", &query).await?)
                    .map_err(|_| not_of_an_issuer())?
            }
            None => {
                let config = source.load()?;
                let store = super::open_store(&config).await?;
                let now = host::now().numeric_date().seconds();
                let how = Review { now, period, secret_age: Some(secret_age) };
                let (findings, unknown) = review(&config.policy, &store, &how).await?;
                let unreviewed = admin::unreviewed(&store).await?;
                ReviewAnswer { findings, unknown, unreviewed, environment: config.environment }
            }
        };
    let environment = environment.as_deref();
    // Another machine's findings are placed in the files of this one, where there are any.
    let installation = match source.is_remote() && !source.config().exists() {
        true => None,
        false => Some(source.files()?),
    };
    if args.fix && installation.is_none() {
        bail!("--fix writes to a configuration: name it with --config");
    }
    let place = |found: &UseFinding| {
        let places = installation.as_ref().map(|installation| &installation.places);
        places.and_then(|places| places.of(found.kind, environment, &found.name).cloned())
    };
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
    for admin::Unreviewed { id, role, asked_by, asked_ms } in &unreviewed {
        let since = output::date_ms(*asked_ms);
        if json {
            let access =
                json!({ "id": id, "role": role, "asked_by": asked_by, "asked_ms": asked_ms });
            output::line(&json!({ "unreviewed_access": access }).to_string())?;
        } else {
            output::line(&format!(
                "role {role}: {asked_by} has used it without an approval since {since}, and nobody has looked \
                 at what was done; then: `edgepass access review {id}`"
            ))?;
        }
    }
    if !json {
        for role in &unknown {
            output::remark(&format!(
                "role {role} was not looked at: its use is not completely known for {} (`edgepass usage`)",
                args.period
            ));
        }
        if found.is_empty() && unreviewed.is_empty() {
            output::line("nothing that nobody used was found")?;
        }
    }
    if args.fix && !files.is_empty() {
        write(source, &files, args.yes)?;
    }
    Ok(if found.is_empty() && unreviewed.is_empty() { Exit::Ok } else { Exit::Refused })
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
