//! `edgepass tokens`.

use anyhow::Context;
use comfy_table::{Table, presets};
use edgepass_issuer::signing_key::KeyState;
use edgepass_issuer::storage::{KeyStore, Page, TokenFilter, TokenRecord, TokenStore};
use edgepass_status_list::StatusType;
use edgepass_verify::policy::duration::DurationText;
use serde_json::{Value, json};

use super::listing::Window;
use super::source::Source;
use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only tokens of this role.
    #[arg(long, allow_hyphen_values = true)]
    role: Option<String>,
    /// Only tokens of this client.
    #[arg(long, allow_hyphen_values = true)]
    client: Option<String>,
    /// Only tokens of this subject.
    #[arg(long, allow_hyphen_values = true)]
    subject: Option<String>,
    /// Only the token with this `jti`.
    #[arg(long, allow_hyphen_values = true)]
    jti: Option<String>,
    /// Only tokens that are not expired, revoked, suspended or signed by a withdrawn key.
    #[arg(long)]
    live: bool,
    /// Only live tokens that expire within this time, such as 1h.
    #[arg(long, value_name = "DURATION", value_parser = DurationText::parse)]
    expiring_in: Option<DurationText>,
    /// Only tokens that are used under the agreement with this id.
    #[arg(long, value_name = "ID")]
    agreement: Option<String>,
    /// Print comma-separated values, with a header line (RFC 4180).
    #[arg(long, conflicts_with = "follow")]
    csv: bool,
    #[command(flatten)]
    window: Window,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let config = source.load()?;
    let store = super::open_store(&config).await?;
    let now = host::now().numeric_date().seconds();
    let since_ms = args.window.since_ms()?;
    let filter = TokenFilter {
        role: args.role,
        client_id: args.client,
        subject: args.subject,
        jwt_id: args.jti,
        issued_since: (since_ms > 0).then(|| since_ms.div_ceil(1000)),
        live_at: (args.live || args.expiring_in.is_some()).then_some(now),
        expires_by: args.expiring_in.map(|time| now.saturating_add(time.0.as_secs())),
        agreement: args.agreement,
    };
    let keys = store.keys().await?.keys;
    let withdrawn = keys.iter().filter(|key| key.state == KeyState::Withdrawn);
    let withdrawn: Vec<&str> = withdrawn.map(|key| key.key_id.as_str()).collect();
    let read = async |page| {
        let records = store.tokens(&filter, page).await?;
        Ok(records.into_iter().map(|record| (record.seq, record)).collect())
    };
    let newest = async || {
        let newest = store.tokens(&TokenFilter::default(), Page::first(true, 1)).await?;
        Ok(newest.first().map_or(0, |record| record.seq))
    };
    let keep =
        |record: &TokenRecord| !args.live || !withdrawn.contains(&record.facts.key_id.as_str());
    let mut has_header = false;
    let newest_first = !args.window.follow;
    let list = args.window.list(newest_first, read, newest, keep, |records| {
        if json {
            for token in &records {
                if !output::line_if_read(&record(token, &withdrawn, now).to_string())? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let header = !std::mem::replace(&mut has_header, true);
        if args.csv {
            let text = as_csv(&records, header, &withdrawn, now)?;
            return output::line_if_read(text.trim_end());
        }
        output::line_if_read(&table(&records, header, &withdrawn, now))
    });
    list.await?;
    if !json && !args.csv && !has_header {
        output::line("no token fits")?;
    }
    Ok(Exit::Ok)
}

fn table(records: &[TokenRecord], has_header: bool, withdrawn: &[&str], now: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if has_header {
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
    }
    for record in records {
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
            status(record, withdrawn, now),
        ]);
    }
    table.trim_fmt()
}

/// Records as comma-separated values: the members of the JSON form, in the same order.
fn as_csv(
    records: &[TokenRecord],
    has_header: bool,
    withdrawn: &[&str],
    now: u64,
) -> anyhow::Result<String> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut csv = csv::Writer::from_writer(Vec::new());
    for (position, token) in records.iter().enumerate() {
        let members = record(token, withdrawn, now);
        let Some(members) = members.as_object() else { continue };
        if has_header && position == 0 {
            csv.write_record(members.keys())?;
        }
        csv.write_record(members.values().map(text))?;
    }
    let written = csv.into_inner().context("the records cannot be written")?;
    Ok(String::from_utf8(written)?)
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
        "policy": token.policy,
        "agreement": token.agreement,
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
