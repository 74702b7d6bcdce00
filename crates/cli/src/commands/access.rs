//! `edgepass access`: asks for access, and decides about it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chrono::DateTime;
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use comfy_table::{Table, presets};
use edgepass_issuer::Issuer;
use edgepass_issuer::access::{Ask, State};
use edgepass_issuer::storage::AccessStore;
use edgepass_jose::Scope;
use edgepass_server::access::{self, Changed, DecisionRequest, Failed, ReviewRequest};
use edgepass_server::admin::access::{AccessQuery, local, view};
use edgepass_store::AnyStore;
use edgepass_verify::policy::duration::DurationText;
use serde_json::{Value, json};

use super::examples;
use super::listing::PAGE;
use super::source::Source;
use super::status_act;
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::{output, remote};

#[derive(Subcommand)]
pub(super) enum Act {
    /// Ask for access to a role that needs approval.
    #[command(visible_alias = "ask", after_help = EXAMPLES)]
    Request(RequestArgs),
    /// List requests, the newest first.
    #[command(after_help = examples::ACCESS_LIST)]
    List(ListArgs),
    /// Print a request, with the digest of what an approval approves.
    #[command(after_help = examples::ACCESS_SHOW)]
    Show {
        /// The request, as `edgepass access list` shows it.
        id: String,
    },
    /// Approve a request. On a terminal it is shown first.
    #[command(after_help = examples::ACCESS_APPROVE)]
    Approve(DecisionArgs),
    /// Deny a request.
    #[command(after_help = examples::ACCESS_DENY)]
    Deny(CommentArgs),
    /// Take a pending request back, or end access: its tokens are revoked.
    #[command(after_help = examples::ACCESS_END)]
    End {
        /// The request.
        id: String,
    },
    /// Confirm that you have looked at what was done with --break-glass.
    #[command(after_help = examples::ACCESS_REVIEW)]
    Review(CommentArgs),
}

const EXAMPLES: &str = "\
Examples:
  edgepass access request --role customer-reader --for 1h --reason \"incident 4711\" --ticket INC-4711
  edgepass access show ar_M1QVJhyV5mC0kQ1sJ9y5Xg
  edgepass issue --grant ar_M1QVJhyV5mC0kQ1sJ9y5Xg
  edgepass access end ar_M1QVJhyV5mC0kQ1sJ9y5Xg
  edgepass access list --unreviewed

Rules in [[approval]] of the configuration say who may ask and who decides: docs/access.md.";

#[derive(clap::Args)]
pub(super) struct RequestArgs {
    /// The role.
    #[arg(long)]
    role: String,
    /// How long access is to last, such as 1h.
    #[arg(long = "for", value_name = "DURATION", value_parser = DurationText::parse)]
    duration: DurationText,
    /// Why, for those who decide and for the audit trail.
    #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// The ticket about it, as the rule wants it.
    #[arg(long)]
    ticket: Option<String>,
    /// A scope to ask for; may be repeated. Default: all scopes of the role.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// The audience, one of the role's. Default: the role's first.
    #[arg(long, value_name = "URL")]
    audience: Option<String>,
    /// When access is to begin, such as 2026-11-22T10:00:00Z. Default: once it is approved.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Wait for nobody. The webhook and the addresses of the rule are told at once, and somebody must review it.
    #[arg(long, requires = "confirm")]
    break_glass: bool,
    /// For --break-glass: the role's name again.
    #[arg(long, value_name = "ROLE", requires = "break_glass")]
    confirm: Option<String>,
    /// Wait until it is decided. The exit code is 0 once access is granted, and 1 if it is not.
    #[arg(long)]
    wait: bool,
}

#[derive(clap::Args)]
pub(super) struct ListArgs {
    /// Only requests that wait for their decision.
    #[arg(long)]
    pending: bool,
    /// Only requests that broke the glass and were not reviewed.
    #[arg(long)]
    unreviewed: bool,
    /// Only requests for this role.
    #[arg(long)]
    role: Option<String>,
    /// Only requests by this party, such as subject:ada.
    #[arg(long, value_name = "PARTY")]
    asked_by: Option<String>,
    /// At most so many, up to 1,000.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
    limit: u32,
}

#[derive(clap::Args)]
pub(super) struct CommentArgs {
    /// The request.
    id: String,
    /// What to say of it, for the audit trail.
    #[arg(long, allow_hyphen_values = true)]
    comment: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct DecisionArgs {
    #[command(flatten)]
    of: CommentArgs,
    /// The digest that `edgepass access show` printed: what was shown is what is approved.
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
}

/// Pause between two looks at a request that is waited for.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let place = Place::open(source).await?;
    match act {
        Act::Request(args) => request(args, &place, json).await,
        Act::List(args) => list(args, &place, json).await,
        Act::Show { id } => {
            show(&place.show(&id).await?, json)?;
            Ok(Exit::Ok)
        }
        Act::Approve(args) => {
            let DecisionArgs { of: CommentArgs { id, comment }, digest } = args;
            let digest = match digest {
                Some(digest) => digest,
                None => confirmed(&place.show(&id).await?)?,
            };
            let decision = DecisionRequest { approves: true, digest, comment };
            done(&place.decide(&id, decision).await?, "approved", json)
        }
        Act::Deny(CommentArgs { id, comment }) => {
            let decision = DecisionRequest { comment, ..DecisionRequest::default() };
            done(&place.decide(&id, decision).await?, "denied", json)
        }
        Act::Review(CommentArgs { id, comment }) => {
            done(&place.review(&id, ReviewRequest { comment }).await?, "reviewed", json)
        }
        Act::End { id } => end(&id, &place, source, json).await,
    }
}

/// Where the requests are.
enum Place {
    Here(Box<Issuer<AnyStore>>),
    Elsewhere(remote::Remote),
}

impl Place {
    async fn open(source: &Source) -> anyhow::Result<Self> {
        Ok(match source.remote()? {
            Some(remote) => Self::Elsewhere(remote),
            None => {
                let config = source.load()?;
                Self::Here(Box::new(super::open_issuer(&config, &super::policy_user()).await?))
            }
        })
    }

    async fn show(&self, id: &str) -> anyhow::Result<Value> {
        match self {
            Self::Elsewhere(remote) => remote.get(&path(id, "")?, &json!({})).await,
            Self::Here(issuer) => {
                let found = issuer.store().access(id).await?.ok_or(Failed::None).map_err(failed)?;
                Ok(view(&found, &issuer.policy(), host::now()))
            }
        }
    }

    async fn decide(&self, id: &str, decision: DecisionRequest) -> anyhow::Result<Value> {
        match self {
            Self::Elsewhere(remote) => remote.post(&path(id, "/decision")?, &decision).await,
            Self::Here(issuer) => {
                let me = local(super::actor());
                changed(access::decide(issuer, id, decision, &me, host::now()).await)
            }
        }
    }

    async fn review(&self, id: &str, review: ReviewRequest) -> anyhow::Result<Value> {
        match self {
            Self::Elsewhere(remote) => remote.post(&path(id, "/review")?, &review).await,
            Self::Here(issuer) => {
                let me = local(super::actor());
                changed(access::review(issuer, id, review, &me, host::now()).await)
            }
        }
    }
}

/// The path of a request below `/admin/v1/`.
fn path(id: &str, what: &str) -> anyhow::Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.is_empty() || !id.bytes().all(is_plain) {
        bail!("a request is named by ar_ and 22 characters; `edgepass access list` lists them");
    }
    Ok(format!("access-requests/{id}{what}"))
}

async fn request(args: RequestArgs, place: &Place, json: bool) -> anyhow::Result<Exit> {
    let start = args.start.as_deref().map(|text| {
        let time = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp());
        let time = time.ok().and_then(|time| u64::try_from(time).ok());
        time.ok_or_else(|| anyhow!("--start {text:?}: write a time such as 2026-11-22T10:00:00Z"))
    });
    let scope = match args.scopes.as_slice() {
        [] => None,
        _ => Some(Scope::try_from(args.scopes)?.to_string()),
    };
    let ask = Ask {
        role: args.role,
        seconds: args.duration.0.as_secs(),
        reason: args.reason,
        ticket: args.ticket,
        audience: args.audience,
        scope,
        start: start.transpose()?,
        break_glass: args.break_glass,
        confirm: args.confirm,
    };
    let mut asked = match place {
        Place::Elsewhere(remote) => remote.post("access-requests", &ask).await?,
        Place::Here(issuer) => {
            let me = local(super::actor());
            changed(access::ask(issuer, ask, &me, &mut OsEntropy, host::now()).await)?
        }
    };
    let id =
        asked.get("id").and_then(Value::as_str).ok_or_else(remote::not_of_an_issuer)?.to_owned();
    let id = &id;
    while args.wait && state(&asked) == "pending" {
        tokio::time::sleep(PAUSE).await;
        asked = place.show(id).await?;
    }
    let state = state(&asked);
    let is_granted = state == "approved";
    if json {
        output::json(&asked)?;
    } else if is_granted {
        output::line(&format!(
            "{id} is granted; get its tokens with `edgepass issue --grant {id}`"
        ))?;
    } else {
        output::line(&format!(
            "{id} is {state}; `edgepass access show {id}` shows what became of it"
        ))?;
    }
    Ok(if args.wait && !is_granted { Exit::Refused } else { Exit::Ok })
}

/// The state of a request.
fn state(request: &Value) -> &str {
    request["state"].as_str().unwrap_or_default()
}

async fn list(args: ListArgs, place: &Place, json: bool) -> anyhow::Result<Exit> {
    let query = AccessQuery {
        role: args.role,
        asked_by: args.asked_by,
        recorded: args.pending.then_some(State::Pending),
        unreviewed: args.unreviewed,
        limit: Some(args.limit),
        ..AccessQuery::default()
    };
    let found = match place {
        Place::Elsewhere(remote) => {
            let found = remote.get("access-requests", &query).await?;
            let found = remote::records(&found, "access_request")?;
            found.into_iter().map(|(_, request)| request).collect::<Vec<_>>()
        }
        Place::Here(issuer) => {
            let (filter, page) = query.into_parts();
            let found = issuer.store().accesses(&filter, page).await?;
            let (policy, now) = (issuer.policy(), host::now());
            found.iter().map(|(_, request)| view(request, &policy, now)).collect()
        }
    };
    // What was recorded as pending may have expired.
    let found: Vec<Value> =
        found.into_iter().filter(|one| !args.pending || one["state"] == "pending").collect();
    if json {
        output::json_lines(&found)?;
        return Ok(Exit::Ok);
    }
    if found.is_empty() {
        output::line("no request fits")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "ID", "STATE", "ROLE", "ASKED BY", "ASKED", "FOR", "ENDS", "TICKET", "REASON",
    ]);
    for one in &found {
        let text = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
        let state = match one["unreviewed"] == true {
            true => format!("{}, unreviewed", text("state")),
            false => text("state"),
        };
        table.add_row([
            text("id"),
            state,
            text("role"),
            text("asked_by"),
            output::date(one["asked_ms"].as_u64().unwrap_or_default() / 1000),
            duration(one).to_string(),
            one["ends"].as_u64().map_or_else(|| "-".to_owned(), output::date),
            text("ticket"),
            text("reason"),
        ]);
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Ok)
}

fn duration(request: &Value) -> DurationText {
    DurationText(Duration::from_secs(request["seconds"].as_u64().unwrap_or_default()))
}

fn show(request: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(request);
    }
    output::line(&shown(request))
}

/// A request for people.
fn shown(request: &Value) -> String {
    let text = |name: &str| request[name].as_str().unwrap_or("-").to_owned();
    let seconds = |name: &str| request[name].as_u64().map_or_else(|| "-".to_owned(), output::date);
    let mut lines = vec![
        format!("Request:   {}", text("id")),
        format!("State:     {}", text("state")),
        format!("Role:      {}", text("role")),
        format!("Scopes:    {}", text("scope")),
        format!("Audience:  {}", text("audience")),
        format!("Asked by:  {}", text("asked_by")),
        format!("Tokens:    client_id {}, sub {}", text("client_id"), text("subject")),
        format!("Policy:    version {}", request["policy"]),
        format!(
            "For:       {}, from {}",
            duration(request),
            match request["start"].as_u64() {
                Some(start) => output::date(start),
                None => "its approval on".to_owned(),
            }
        ),
        format!("Reason:    {}", text("reason")),
        format!("Ticket:    {}", text("ticket")),
        format!("Begins:    {}", seconds("begins")),
        format!("Ends:      {}", seconds("ends")),
    ];
    if request["break_glass"] == true {
        let reviewed =
            request.pointer("/reviewed/by").and_then(Value::as_str).unwrap_or("nobody yet");
        lines.push(format!("Without approval. Reviewed by: {reviewed}"));
    }
    for one in request["decisions"].as_array().into_iter().flatten() {
        let what = if one["approves"] == true { "Approved" } else { "Denied" };
        let by = one["by"].as_str().unwrap_or("-");
        let at = output::date(one["at_ms"].as_u64().unwrap_or_default() / 1000);
        let comment = one["comment"].as_str().map_or(String::new(), |text| format!(": {text}"));
        lines.push(format!("{what} by {by} at {at}{comment}"));
    }
    lines.push(format!("Digest:    {}", text("digest")));
    lines.join("\n")
}

/// Shows a request on a terminal, and asks. Returns the digest of what was shown.
fn confirmed(request: &Value) -> anyhow::Result<String> {
    let digest = request["digest"].as_str().ok_or_else(remote::not_of_an_issuer)?.to_owned();
    if !std::io::stdin().is_terminal() {
        bail!(
            "--digest is missing: look at the request with `edgepass access show`, and approve the digest that it prints"
        );
    }
    output::line(&shown(request))?;
    let mut error = std::io::stderr();
    write!(error, "Approve this? [y/N] ").and_then(|()| error.flush())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    if answer.trim().eq_ignore_ascii_case("y") {
        Ok(digest)
    } else {
        Err(anyhow::Error::new(Failure::Refused).context("not approved"))
    }
}

async fn end(id: &str, place: &Place, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let issuer = match place {
        Place::Elsewhere(remote) => {
            let ended = &remote.post(&path(id, "/end")?, &json!({})).await?;
            let is_revoked = ended["tokens_revoked"] != false;
            done(
                ended,
                if is_revoked { "ended" } else { "ended; its tokens are being revoked" },
                json,
            )?;
            return Ok(if is_revoked { Exit::Ok } else { Exit::Unavailable });
        }
        Place::Here(issuer) => issuer,
    };
    let me = local(super::actor());
    let ended = access::end(issuer, id, &me, host::now()).await.map_err(failed)?;
    let request = view(&ended.request, &ended.policy, host::now());
    if ended.request.recorded != State::Ended {
        return done(&request, "taken back", json);
    }
    done(&request, "ended", json)?;
    let revoke = status_act::Args::of_grant(id.to_owned(), "access was ended".to_owned());
    let revoke =
        status_act::run(edgepass_issuer::selection::StatusChange::Revoke, revoke, source, json);
    let revoked = revoke.await?;
    issuer.store().settle_access(id).await?;
    Ok(revoked)
}

fn done(request: &Value, what: &str, json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json(request)?;
    } else {
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        output::line(&format!("{} {what}; it is {}", text("id"), text("state")))?;
    }
    Ok(Exit::Ok)
}

fn changed(outcome: Result<Changed, Failed>) -> anyhow::Result<Value> {
    let changed = outcome.map_err(failed)?;
    Ok(view(&changed.request, &changed.policy, host::now()))
}

fn failed(error: Failed) -> anyhow::Error {
    match error {
        Failed::None | Failed::Refused(_) => {
            anyhow::Error::new(Failure::Refused).context(error.to_string())
        }
        Failed::Store(error) => error.into(),
        error => anyhow::Error::new(Failure::Unavailable).context(error.to_string()),
    }
}
