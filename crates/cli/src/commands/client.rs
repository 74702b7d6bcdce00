//! `edgepass client`.

use std::io::Write;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use edgepass_issuer::Config;
use edgepass_issuer::client_secret::ClientSecret;
use serde_json::json;

use super::source::Source;
use crate::exit::Exit;
use crate::host::OsEntropy;
use crate::output;

#[derive(clap::Subcommand)]
pub(super) enum Act {
    /// List the clients, with their roles and what they may change.
    List,
    /// Add a client to the configuration, with a new secret, which is printed once.
    Add {
        /// The client's `client_id`.
        id: String,
        /// A role that the client may use; may be repeated. The first is its default.
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// A change that the client may make to tokens of all clients; may be repeated.
        #[arg(long = "may", value_parser = ["revoke", "suspend", "resume"])]
        may: Vec<String>,
    },
}

pub(super) fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    match act {
        Act::List => list(&source.load()?, json),
        Act::Add { id, roles, may } => add(source, &id, &roles, &may, json),
    }
}

fn list(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let clients = &config.policy.clients;
    let changes = |client: &edgepass_issuer::policy::Client| -> Vec<&str> {
        client.may.iter().map(|change| change.name()).collect()
    };
    if json {
        for client in clients {
            let may = changes(client);
            output::json(&json!({ "client_id": client.id, "roles": client.roles, "may": may }))?;
        }
        return Ok(Exit::Ok);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLIENT", "ROLES", "MAY"]);
    for client in clients {
        table.add_row([client.id.clone(), client.roles.join(" "), changes(client).join(" ")]);
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Ok)
}

/// Appends the client to the file, or to `clients.toml` of a folder. The rest of the file, comments
/// included, stays as it is.
fn add(
    source: &Source,
    id: &str,
    roles: &[String],
    may: &[String],
    json: bool,
) -> anyhow::Result<Exit> {
    let config = source.load()?;
    if config.policy.client(id).is_some() {
        bail!("the client {id:?} exists already; `edgepass client list` shows it");
    }
    let mut entropy = OsEntropy;
    let secret = ClientSecret::generate(&mut entropy)?;
    let mut entry = format!("\n[[client]]\nid = {}\nroles = {}\n", quoted(id), quoted_all(roles));
    if let Some(environment) = &config.environment {
        entry.push_str(&format!("environment = {}\n", quoted(environment)));
    }
    if !may.is_empty() {
        entry.push_str(&format!("may = {}\n", quoted_all(may)));
    }
    entry.push_str(&format!("secret_hash = {}\n", quoted(&secret.hash(&mut entropy)?.to_string())));
    // Checked as `serve` will, before the file is changed.
    let (file, written) = source.with_entry("clients.toml", &entry).with_context(|| {
        format!("the client {id:?} was not added; `edgepass client list` shows the known ones")
    })?;
    let shown = file.display();
    let mut output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .with_context(|| format!("{shown} cannot be written"))?;
    output.write_all(written.as_bytes()).and_then(|()| output.sync_all()).with_context(|| {
        format!("{shown} cannot be written; remove an incomplete [[client]] at its end")
    })?;
    if json {
        output::json(&json!({ "client_id": id, "client_secret": secret.reveal() }))?;
    } else {
        output::line(&format!("added {id} to {shown}"))?;
        output::line(&format!("client secret (shown once):  {}", secret.reveal()))?;
        output::line("a running `edgepass serve` knows the client after `edgepass policy apply`")?;
    }
    Ok(Exit::Ok)
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn quoted_all(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}
