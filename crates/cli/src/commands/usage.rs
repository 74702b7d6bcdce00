//! `edgepass usage`.

use std::time::Duration;

use comfy_table::{Table, presets};
use edgepass_issuer::usage::UsageBy;
use edgepass_server::admin::usage::{UsageQuery, sums};
use edgepass_verify::policy::duration::DurationText;
use serde_json::{Value, json};

use super::source::Source;
use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// What to add up by.
    #[arg(long, value_enum, default_value_t = By::Role)]
    by: By,
    /// Only tokens of this role.
    #[arg(long, allow_hyphen_values = true)]
    role: Option<String>,
    /// Only tokens of this client.
    #[arg(long, allow_hyphen_values = true)]
    client: Option<String>,
    /// Only requests whose route needs this scope.
    #[arg(long, allow_hyphen_values = true)]
    scope: Option<String>,
    /// Only days (UTC) since this time ago, such as 30days. Sums are kept for 400 days.
    #[arg(long, value_name = "DURATION", value_parser = DurationText::parse)]
    since: Option<DurationText>,
    /// Print comma-separated values, with a header line (RFC 4180).
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum By {
    /// The day, in UTC.
    Day,
    Role,
    Client,
    /// A scope that a route needs and the token grants. A request may count for several.
    Scope,
    /// Methods and path of the guard's route.
    Route,
    /// The outcome: accepted, or the code of the refusal.
    Code,
}

impl By {
    fn wanted(self) -> (UsageBy, &'static str) {
        match self {
            Self::Day => (UsageBy::Day, "DAY"),
            Self::Role => (UsageBy::Role, "ROLE"),
            Self::Client => (UsageBy::Client, "CLIENT"),
            Self::Scope => (UsageBy::Scope, "SCOPE"),
            Self::Route => (UsageBy::Route, "ROUTE"),
            Self::Code => (UsageBy::Code, "CODE"),
        }
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass usage
  edgepass usage --by scope --client billing --since 30days
  edgepass usage --by day --csv > days.csv

Guards count, and report every half minute: docs/usage.md. COMPLETE SINCE says from when on no use is
missing, as far as reports show.";

const DAY: u64 = 24 * 60 * 60;

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let (by, title) = args.by.wanted();
    let now = host::now().numeric_date().seconds();
    let since = args.since.map(|since| now.saturating_sub(since.0.as_secs()));
    let query = UsageQuery {
        by,
        role: args.role,
        client_id: args.client,
        scope: args.scope,
        since_day: Duration::from_secs(since.unwrap_or_default()).as_secs() / DAY,
    };
    let mut found = match source.remote()? {
        Some(remote) => remote.get("usage", &query).await?,
        None => {
            let store = super::open_store(&source.load()?).await?;
            sums(&store, query).await?
        }
    };
    let mut of = |name: &str| match found.get_mut(name).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let (mut sums, reporters) = (of("sums"), of("reporters"));
    for sum in &mut sums {
        for member in ["first_day", "last_day"] {
            sum[member] = day(sum[member].as_u64().unwrap_or_default()).into();
        }
        if by == UsageBy::Day {
            let number = sum["name"].as_str().and_then(|name| name.parse().ok());
            sum["name"] = day(number.unwrap_or_default()).into();
        }
    }
    if json {
        let by = serde_json::to_value(by)?;
        output::json(&json!({ "by": by, "sums": sums, "reporters": reporters }))?;
        return Ok(Exit::Ok);
    }
    if args.csv {
        return print_csv(title, &sums);
    }
    if reporters.is_empty() {
        output::line(
            "nobody reports the use of tokens: `edgepass client add GUARD --role edgepass-guard \
             --reports-use-of AUDIENCE`, then give the guard USAGE_CLIENT_ID and USAGE_CLIENT_SECRET",
        )?;
        return Ok(Exit::Ok);
    }
    output::line(&sums_table(title, &sums))?;
    output::line("")?;
    output::line(&reporters_table(&reporters))?;
    Ok(Exit::Ok)
}

/// The columns of a sum, with their members.
const COLUMNS: [(&str, &str); 4] = [
    ("ACCEPTED", "accepted"),
    ("REFUSED", "refused"),
    ("FIRST DAY", "first_day"),
    ("LAST DAY", "last_day"),
];

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The name of a sum. Uses of tokens that had no row of their own have no route.
fn name(sum: &Value) -> String {
    match sum["name"].as_str() {
        None | Some("") => "(none known)".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn sums_table(title: &str, sums: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([title].into_iter().chain(COLUMNS.map(|(title, _)| title)));
    for sum in sums {
        let cells = COLUMNS.map(|(_, member)| text(&sum[member]));
        table.add_row([name(sum)].into_iter().chain(cells));
    }
    table.trim_fmt()
}

fn reporters_table(reporters: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "REPORTED BY",
        "AUDIENCES",
        "REPORTS",
        "MISSING",
        "USES LOST",
        "USES NOT BY TOKEN",
        "COMPLETE SINCE",
        "LAST REPORT",
    ]);
    for it in reporters {
        let audiences = it["audiences"].as_array().into_iter().flatten();
        let audiences: Vec<&str> = audiences.filter_map(Value::as_str).collect();
        let date = |member: &str| output::date(it[member].as_u64().unwrap_or_default() / 1000);
        table.add_row([
            text(&it["client_id"]),
            audiences.join(" "),
            text(&it["reports"]),
            text(&it["missing"]),
            text(&it["lost"]),
            text(&it["folded"]),
            date("complete_since_ms"),
            date("last_ms"),
        ]);
    }
    table.trim_fmt()
}

fn print_csv(title: &str, sums: &[Value]) -> anyhow::Result<Exit> {
    let titles = [title.to_lowercase()].into_iter().chain(COLUMNS.map(|(_, it)| it.to_owned()));
    output::line(&output::csv_line(titles)?)?;
    for sum in sums {
        let cells = COLUMNS.map(|(_, member)| text(&sum[member]));
        output::line(&output::csv_line([text(&sum["name"])].into_iter().chain(cells))?)?;
    }
    Ok(Exit::Ok)
}

/// A day as a date, such as `2026-11-21`.
fn day(number: u64) -> String {
    let date = output::date(number.saturating_mul(DAY));
    date.split('T').next().unwrap_or_default().to_owned()
}
