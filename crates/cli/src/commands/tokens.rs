//! `edgepass tokens`.

use std::path::Path;

use comfy_table::{Table, presets};
use edgepass_issuer::signing_key::KeyState;
use edgepass_issuer::storage::{KeyStore, TokenFilter, TokenRecord, TokenStore};
use edgepass_status_list::StatusType;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only tokens of this role.
    #[arg(long)]
    role: Option<String>,
    /// Only tokens that are not expired, revoked, suspended or signed by a withdrawn key.
    #[arg(long)]
    live: bool,
}

pub(super) async fn run(args: Args, config: &Path, json: bool) -> anyhow::Result<Exit> {
    let config = super::load_config(config)?;
    let store = super::open_store(&config).await?;
    let now = host::now().numeric_date().seconds();
    let filter = TokenFilter { role: args.role, live_at: args.live.then_some(now) };
    let mut tokens = store.tokens(&filter).await?;
    let keys = store.keys().await?.keys;
    let withdrawn = keys.iter().filter(|key| key.state == KeyState::Withdrawn);
    let withdrawn: Vec<&str> = withdrawn.map(|key| key.key_id.as_str()).collect();
    if args.live {
        tokens.retain(|token| !withdrawn.contains(&token.facts.key_id.as_str()));
    }
    if json {
        output::json(&tokens.iter().map(|token| record(token, &withdrawn, now)).collect())?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "ID",
        "ROLE",
        "SCOPES",
        "AUDIENCE",
        "CLIENT",
        "SUBJECT",
        "CREATED BY",
        "ISSUED",
        "EXPIRES",
        "STATUS",
    ]);
    for record in &tokens {
        let token = &record.facts;
        table.add_row([
            token.jwt_id.as_str(),
            &token.role,
            &token.scope,
            &token.audience,
            &token.client_id,
            &token.subject,
            &token.created_by,
            &output::date(token.issued_at),
            &output::date(token.expiration),
            status(record, &withdrawn, now),
        ]);
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Ok)
}

fn record(record: &TokenRecord, withdrawn: &[&str], now: u64) -> Value {
    let token = &record.facts;
    json!({
        "jti": token.jwt_id,
        "role": token.role,
        "scope": token.scope,
        "aud": token.audience,
        "client_id": token.client_id,
        "sub": token.subject,
        "created_by": token.created_by,
        "iat": token.issued_at,
        "exp": token.expiration,
        "kid": token.key_id,
        "status": status(record, withdrawn, now),
    })
}

fn status(record: &TokenRecord, withdrawn: &[&str], now: u64) -> &'static str {
    match record.status {
        StatusType::Invalid => "revoked",
        _ if now >= record.facts.expiration => "expired",
        _ if withdrawn.contains(&record.facts.key_id.as_str()) => "key withdrawn",
        StatusType::Valid => "live",
        StatusType::Suspended => "suspended",
        StatusType::Unknown(_) => "unknown",
    }
}
