//! `edgepass audit export`.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::storage::{AuditStore, Page};
use edgepass_server::admin::records::AuditQuery;
use edgepass_store::AnyStore;
use serde_json::{Value, json};

use crate::commands::open_store;
use crate::commands::source::Source;
use crate::exit::Exit;
use crate::output;
use crate::remote::{Remote, not_of_an_issuer, records};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only entries from this day or time on (UTC), such as 2026-11-22 or 2026-11-22T10:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    from: Option<u64>,
    /// Only entries before this day or time (UTC).
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    to: Option<u64>,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One JSON object on each line: `position` and `entry`.
    Jsonl,
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
}

/// Entries that are read at once.
const PAGE: u32 = 1000;

pub(super) async fn run(args: Args, source: &Source) -> anyhow::Result<Exit> {
    let trail = match source.remote()? {
        Some(remote) => Trail::There(remote),
        None => Trail::Here(open_store(&source.load()?).await?),
    };
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    if let Format::Csv = args.format
        && !output::line_if_read(&output::csv_line(HEADER.map(str::to_owned))?)?
    {
        return Ok(Exit::Ok);
    }
    let mut after = 0;
    loop {
        let entries = trail.page(from, Page { after, ..Page::first(false, PAGE) }).await?;
        let Some((last, _)) = entries.last() else { break };
        after = *last;
        for (position, entry) in &entries {
            // The times of entries need not rise: a clock may have been set back.
            if entry.at_ms >= to {
                continue;
            }
            let line = match args.format {
                Format::Jsonl => json!({ "position": position, "entry": entry }).to_string(),
                Format::Csv => output::csv_line(columns(*position, entry)?)?,
            };
            if !output::line_if_read(&line)? {
                return Ok(Exit::Ok);
            }
        }
    }
    Ok(Exit::Ok)
}

/// Where the trail is.
enum Trail {
    Here(AnyStore),
    There(Remote),
}

impl Trail {
    async fn page(&self, from: u64, page: Page) -> anyhow::Result<Vec<(u64, AuditEntry)>> {
        let remote = match self {
            Self::Here(store) => return Ok(store.audit(from, page).await?),
            Self::There(remote) => remote,
        };
        let found = remote.get("audit", &AuditQuery::of(from, page)).await?;
        let mut entries = Vec::new();
        for (position, entry) in records(&found, "entry")? {
            entries
                .push((position, serde_json::from_value(entry).map_err(|_| not_of_an_issuer())?));
        }
        Ok(entries)
    }
}

const HEADER: [&str; 9] =
    ["position", "time", "actor", "act", "policy", "jti", "role", "client_id", "details"];

fn columns(position: u64, entry: &AuditEntry) -> anyhow::Result<[String; 9]> {
    let mut details = serde_json::to_value(entry)?;
    if let Value::Object(details) = &mut details {
        for shown in ["at_ms", "actor", "act", "policy"] {
            details.remove(shown);
        }
    }
    let names = entry.act.names();
    let text = |name: Option<&str>| name.unwrap_or_default().to_owned();
    Ok([
        position.to_string(),
        output::date_ms(entry.at_ms),
        entry.actor.clone(),
        entry.act.name().to_owned(),
        entry.policy.map(|number| number.to_string()).unwrap_or_default(),
        text(names.jwt_id),
        text(names.role),
        text(names.client_id),
        details.to_string(),
    ])
}
