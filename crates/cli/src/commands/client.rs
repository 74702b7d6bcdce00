//! `edgepass client`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use edgepass_issuer::Config;
use edgepass_issuer::client_secret::ClientSecret;
use serde_json::json;

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

pub(super) fn run(act: Act, config: &Path, json: bool) -> anyhow::Result<Exit> {
    match act {
        Act::List => list(&super::load_config(config)?, json),
        Act::Add { id, roles, may } => add(config, &id, &roles, &may, json),
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

/// Appends the client to the file. The rest of the file, comments included, stays as it is.
fn add(
    file: &Path,
    id: &str,
    roles: &[String],
    may: &[String],
    json: bool,
) -> anyhow::Result<Exit> {
    let config = super::load_config(file)?;
    if config.policy.client(id).is_some() {
        bail!("the client {id:?} exists already; `edgepass client list` shows it");
    }
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let mut entropy = OsEntropy;
    let secret = ClientSecret::generate(&mut entropy)?;
    let mut entry = format!("\n[[client]]\nid = {}\nroles = {}\n", quoted(id), quoted_all(roles),);
    if !may.is_empty() {
        entry.push_str(&format!("may = {}\n", quoted_all(may)));
    }
    entry.push_str(&format!("secret_hash = {}\n", quoted(&secret.hash(&mut entropy)?.to_string())));
    if !text.ends_with('\n') {
        entry.insert(0, '\n');
    }
    // Checked as `serve` will, before the file is changed.
    let base = file.parent().unwrap_or_else(|| Path::new("."));
    Config::parse(&format!("{text}{entry}"), base).with_context(|| {
        format!("the client {id:?} was not added; `edgepass client list` shows the known ones")
    })?;
    let mut written = std::fs::OpenOptions::new()
        .append(true)
        .open(file)
        .with_context(|| format!("{shown} cannot be written"))?;
    written.write_all(entry.as_bytes()).and_then(|()| written.sync_all()).with_context(|| {
        format!("{shown} cannot be written; remove an incomplete [[client]] at its end")
    })?;
    if json {
        output::json(&json!({ "client_id": id, "client_secret": secret.reveal() }))?;
    } else {
        output::line(&format!("added {id} to {shown}"))?;
        output::line(&format!("client secret (shown once):  {}", secret.reveal()))?;
        output::line("a running `edgepass serve` knows the client after a restart")?;
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
