//! `edgepass tokens`.

use comfy_table::{Table, presets};
use edgepass_issuer::storage::{KeyStore, Page, TokenFilter, TokenStore};
use edgepass_server::admin::records::TokenQuery;
use edgepass_server::admin::usage::Uses;
use edgepass_server::admin::view::TokenView;
use edgepass_verify::policy::duration::DurationText;
use serde_json::Value;

use super::listing::Window;
use super::source::Source;
use crate::exit::Exit;
use crate::{host, output, remote};

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
    /// Only live tokens that are known not to have been accepted for this time, such as 7d.
    #[arg(long, value_name = "DURATION", value_parser = DurationText::parse, conflicts_with = "follow")]
    unused_for: Option<DurationText>,
    /// Only tokens that are used under the agreement with this id.
    #[arg(long, value_name = "ID")]
    agreement: Option<String>,
    /// Only tokens that were issued under this request for access.
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// Print comma-separated values, with a header line (RFC 4180).
    #[arg(long, conflicts_with_all = ["follow", "json"])]
    csv: bool,
    #[command(flatten)]
    window: Window,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let now = host::now().numeric_date().seconds();
    let since_ms = args.window.since_ms()?;
    let query = TokenQuery {
        role: args.role,
        client_id: args.client,
        sub: args.subject,
        jti: args.jti,
        agreement: args.agreement,
        grant: args.grant,
        issued_since: (since_ms > 0).then(|| since_ms.div_ceil(1000)),
        live: args.live || args.expiring_in.is_some() || args.unused_for.is_some(),
        expires_by: args.expiring_in.map(|time| now.saturating_add(time.0.as_secs())),
        ..TokenQuery::default()
    };
    let mut has_header = false;
    // A key may have been withdrawn: the query does not look for that.
    let unused_since = args.unused_for.map(|time| now.saturating_sub(time.0.as_secs()));
    let keep = |token: &Value| {
        let needs_live = args.live || unused_since.is_some();
        (!needs_live || token["status"] == "live")
            && unused_since.is_none_or(|since| is_unused(token, since))
    };
    let print = |tokens: Vec<Value>| {
        if json {
            return output::json_lines(&tokens);
        }
        let header = !std::mem::replace(&mut has_header, true);
        if args.csv {
            return output::line_if_read(as_csv(&tokens, header)?.trim_end());
        }
        output::line_if_read(&table(&tokens, header))
    };
    let newest_first = !args.window.follow;
    let last = Page::first(true, 1);
    if let Some(remote) = source.remote()? {
        let read = async |query: TokenQuery| {
            remote::records(&remote.get("tokens", &query).await?, "token")
        };
        let page = async |page| read(query.clone().of(page)).await;
        let newest = async || {
            let found = read(TokenQuery::default().of(last)).await?;
            anyhow::Ok(found.first().map_or(0, |(seq, _)| *seq))
        };
        args.window.list(newest_first, page, newest, keep, print).await?;
    } else {
        let config = source.load()?;
        let store = super::open_store(&config).await?;
        let view = TokenView::new(&store.keys().await?.keys, now);
        let read = async |page| {
            let (filter, page) = query.clone().of(page).into_parts(now);
            let records = store.tokens(&filter, page).await?;
            let uses = Uses::of(&store, &config.policy, &records, host::now().0).await?;
            Ok(records.iter().map(|record| (record.seq, view.token(record, &uses))).collect())
        };
        let newest = async || {
            let newest = store.tokens(&TokenFilter::default(), last).await?;
            Ok(newest.first().map_or(0, |record| record.seq))
        };
        args.window.list(newest_first, read, newest, keep, print).await?;
    }
    if args.csv && !has_header {
        output::line(&output::csv_line(MEMBERS.map(str::to_owned))?)?;
    }
    if !json && !args.csv && !has_header {
        output::line("no token fits")?;
    }
    Ok(Exit::Ok)
}

/// The columns of the table, with the members that they show.
const COLUMNS: [(&str, &str); 13] = [
    ("ID", "jti"),
    ("ROLE", "role"),
    ("SCOPES", "scope"),
    ("AUDIENCE", "aud"),
    ("CLIENT", "client_id"),
    ("SUBJECT", "sub"),
    ("CREATED BY", "created_by"),
    ("ISSUED", "iat"),
    ("EXPIRES", "exp"),
    ("STATUS", "status"),
    ("USED", "uses"),
    ("LAST USED", "last_used"),
    ("FROM", "use"),
];

fn table(tokens: &[Value], has_header: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if has_header {
        table.set_header(COLUMNS.map(|(title, _)| title));
    }
    for token in tokens {
        table.add_row(COLUMNS.map(|(_, member)| match (member, &token[member]) {
            ("uses", _) => uses(token),
            ("use", detail) => places(detail),
            (_, Value::Number(seconds)) => output::date(seconds.as_u64().unwrap_or_default()),
            (_, other) => other.as_str().unwrap_or_default().to_owned(),
        }));
    }
    table.trim_fmt()
}

/// How often a token was used. `unknown`: no report names it, but reports may be missing. With `+` there may
/// be more.
fn uses(token: &Value) -> String {
    let Some(uses) = token["uses"].as_u64() else { return "unknown".to_owned() };
    let is_complete = token["use_complete_since"]
        .as_u64()
        .zip(token["iat"].as_u64())
        .is_some_and(|(since, issued)| since <= issued);
    let more = if is_complete { "" } else { "+" };
    let uses = match (uses, more) {
        (0, "") => "never".to_owned(),
        (uses, more) => format!("{uses}{more}"),
    };
    match token["refusals"].as_u64() {
        None | Some(0) => uses,
        Some(refusals) => format!("{uses}, refused {refusals}"),
    }
}

/// Whether a token was issued before a time, in seconds, and not accepted since, as far as every report since
/// then has come.
fn is_unused(token: &Value, since: u64) -> bool {
    let by_then = |member: &str| token[member].as_u64().is_some_and(|time| time <= since);
    by_then("iat")
        && by_then("use_complete_since")
        && (token["last_used"].is_null() || by_then("last_used"))
}

/// The countries and networks from which a token was used.
fn places(detail: &Value) -> String {
    let names = |kinds: &str, prefix: &str| -> Vec<String> {
        let kinds = detail[kinds].as_object().into_iter().flatten();
        kinds
            .map(|(name, _)| match name.as_str() {
                "" => "...".to_owned(),
                name => format!("{prefix}{name}"),
            })
            .collect()
    };
    [names("countries", ""), names("asns", "AS")].concat().join(" ")
}

/// The members of the JSON form, in its order.
const MEMBERS: [&str; 21] = [
    "agreement",
    "aud",
    "client_id",
    "created_by",
    "exp",
    "first_used",
    "grant",
    "iat",
    "jti",
    "kid",
    "last_refused",
    "last_used",
    "policy",
    "refusals",
    "role",
    "scope",
    "status",
    "sub",
    "use",
    "use_complete_since",
    "uses",
];

/// Records as comma-separated values: [`MEMBERS`].
fn as_csv(tokens: &[Value], has_header: bool) -> anyhow::Result<String> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = String::new();
    if has_header {
        lines.push_str(&output::csv_line(MEMBERS.map(str::to_owned))?);
        lines.push('\n');
    }
    for token in tokens {
        lines.push_str(&output::csv_line(MEMBERS.map(|member| text(&token[member])))?);
        lines.push('\n');
    }
    Ok(lines)
}
