//! `edgepass client`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use edgepass_issuer::client::keys::NewKey;
use edgepass_issuer::client::secret::ClientSecret;
use edgepass_server::admin::view;
use serde_json::{Value, json};

use super::examples;
use super::source::Source;
use crate::exit::Exit;
use crate::host::OsEntropy;
use crate::{output, private};

#[derive(clap::Subcommand)]
pub(super) enum Act {
    /// List the clients, with their roles and what they may change.
    #[command(after_help = examples::CLIENT_LIST)]
    List,
    /// Add a client to the configuration. It signs its requests with the key of --jwks or --new-key,
    /// or else has a new secret, which is printed once.
    #[command(after_help = examples::CLIENT_ADD)]
    Add {
        /// The client's `client_id`.
        id: String,
        /// A role that the client may use; may be repeated. The first is its default.
        #[arg(long = "role", required_unless_present_any = ["introspects", "allots"])]
        roles: Vec<String>,
        /// A change that the client may make to tokens of all clients; may be repeated.
        #[arg(long = "may", value_parser = ["revoke", "suspend", "resume"])]
        may: Vec<String>,
        /// An audience whose tokens the client may introspect; may be repeated. For resource servers.
        #[arg(long)]
        introspects: Vec<String>,
        /// The client may ask for status entries for tokens of other issuers.
        #[arg(long)]
        allots: bool,
        /// An audience of tokens whose use the client may report; may be repeated. For guards: give them a
        /// role with the scope edgepass:usage, too.
        #[arg(long)]
        reports_use_of: Vec<String>,
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Where the client's key is, if it has one.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(super) struct KeyArgs {
    /// File with the client's public keys, a JWK Set.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// File to create with a new private key for the client, as a JWK.
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
}

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    match act {
        Act::List => {
            let clients = match source.remote()? {
                Some(remote) => {
                    let found = &remote.get("clients", &()).await?;
                    found["clients"].as_array().cloned().unwrap_or_default()
                }
                None => source.load()?.policy.clients.iter().map(view::client).collect(),
            };
            list(&clients, json)
        }
        Act::Add { id, roles, may, introspects, allots, reports_use_of, key } => {
            let new = NewClient { id, roles, may, introspects, allots, reports_use_of };
            add(source, &new, key, json)
        }
    }
}

fn list(clients: &[Value], json: bool) -> anyhow::Result<Exit> {
    if json {
        for client in clients {
            output::json(client)?;
        }
        return Ok(Exit::Ok);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLIENT", "AUTHENTICATES BY", "ROLES", "MAY", "INTROSPECTS"]);
    for client in clients {
        table.add_row(["client_id", "authentication", "roles", "may", "introspects"].map(
            |member| {
                let items = client[member].as_array().map(|items| {
                    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                });
                items.unwrap_or_else(|| client[member].as_str().unwrap_or_default().to_owned())
            },
        ));
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Ok)
}

/// A client to add.
struct NewClient {
    id: String,
    roles: Vec<String>,
    may: Vec<String>,
    introspects: Vec<String>,
    allots: bool,
    reports_use_of: Vec<String>,
}

/// Appends the client to the file, or to `clients.toml` of a folder. The rest of the file, comments
/// included, stays as it is.
fn add(source: &Source, new: &NewClient, key: KeyArgs, json: bool) -> anyhow::Result<Exit> {
    let config = source.load()?;
    let id = &new.id;
    if config.policy.client(id).is_some() {
        bail!("the client {id:?} exists already; `edgepass client list` shows it");
    }
    let mut entry =
        format!("\n[[client]]\nid = {}\nroles = {}\n", quoted(id), quoted_all(&new.roles));
    if let Some(environment) = &config.environment {
        entry.push_str(&format!("environment = {}\n", quoted(environment)));
    }
    for (name, values) in [
        ("may", &new.may),
        ("introspects", &new.introspects),
        ("reports_use_of", &new.reports_use_of),
    ] {
        if !values.is_empty() {
            entry.push_str(&format!("{name} = {}\n", quoted_all(values)));
        }
    }
    if new.allots {
        entry.push_str("allots = true\n");
    }
    let mut entropy = OsEntropy;
    let mut secret = None;
    let mut private = None;
    match (key.jwks, key.new_key) {
        (Some(file), _) => {
            let set = output::read_text(&file)?;
            let set: Value = serde_json::from_str(&set)
                .with_context(|| format!("{} is no JSON", file.display()))?;
            entry.push_str(&format!("jwks = {}\n", literal(&set.to_string())));
        }
        (None, Some(file)) => {
            if file == Path::new("-") {
                bail!("--new-key needs the name of a file: a private key is not printed");
            }
            let pair = NewKey::generate(&mut entropy)?;
            entry.push_str(&format!("jwks = {}\n", literal(&pair.public_set())));
            private = Some((file, pair));
        }
        (None, None) => {
            let new = ClientSecret::generate(&mut entropy)?;
            let hash = new.hash(&mut entropy)?.to_string();
            entry.push_str(&format!("secret_hash = {}\n", quoted(&hash)));
            secret = Some(new);
        }
    }
    // Checked as `serve` will, before the file is changed.
    let (file, written) = source.with_entry("clients.toml", &entry).with_context(|| {
        format!("the client {id:?} was not added; `edgepass client list` shows the known ones")
    })?;
    if let Some((file, pair)) = &private {
        write_private(file, &pair.private_jwk())?;
    }
    append(&file, &written)?;
    let key_file = private.as_ref().map(|(file, _)| file.display().to_string());
    if json {
        let added = json!({
            "client_id": id,
            "client_secret": secret.as_ref().map(ClientSecret::reveal),
            "key_file": key_file,
        });
        output::json(&added).with_context(|| undo(id, &file))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("added {id} to {}", file.display()))?;
    if let Some(secret) = &secret {
        output::line(&format!("client secret (shown once):  {}", secret.reveal()))
            .with_context(|| undo(id, &file))?;
    }
    if let Some(key_file) = key_file {
        output::line(&format!("private key of the client (keep it there only):  {key_file}"))?;
    }
    output::line("a running `edgepass serve` knows the client after `edgepass policy apply`")?;
    Ok(Exit::Ok)
}

/// What to do if the secret could not be shown.
fn undo(id: &str, file: &Path) -> String {
    format!(
        "the secret of {id} could not be printed, and nothing else has it: remove the [[client]] from {} and add it again",
        file.display()
    )
}

fn append(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let mut output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .with_context(|| format!("{shown} cannot be written"))?;
    output.write_all(text.as_bytes()).and_then(|()| output.sync_all()).with_context(|| {
        format!("{shown} cannot be written; remove an incomplete [[client]] at its end")
    })
}

/// Writes a private key to a new file, which only its owner can read.
fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let mut output =
        private::new_file(file).with_context(|| format!("{shown} cannot be created"))?;
    writeln!(output, "{text}")
        .and_then(|()| output.sync_all())
        .with_context(|| format!("{shown} cannot be written"))
}

/// A literal string of TOML, in which JSON is easy to read, or a basic one.
fn literal(text: &str) -> String {
    let is_literal = !text.contains('\'') && !text.contains(char::is_control);
    if is_literal { format!("'{text}'") } else { quoted(text) }
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
