//! `edgepass breach`: incidents, and the reports about them.

mod render;
mod verify;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use comfy_table::{Table, presets};
use edgepass_issuer::audit::{Act as AuditAct, AuditEntry};
use edgepass_issuer::breach::export::Export;
use edgepass_issuer::breach::report::Report;
use edgepass_issuer::breach::{Concerns, GuardedRoute, Incident, Noting, Opening};
use edgepass_issuer::status_act::unverified_jwt_id;
use edgepass_issuer::storage::{AuditStore, IncidentStore, Page};
use edgepass_issuer::{Config, Issuer};
use edgepass_log::{Checkpoint, Note};
use edgepass_server::admin::incidents::{CloseRequest, summary, view};
use edgepass_server::admin::records::{AuditQuery, PageQuery};
use edgepass_server::breach::{Desk, ExportRequest, Failed};
use edgepass_store::AnyStore;
use edgepass_verify::policy::duration::DurationText;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::listing::PAGE;
use super::records::measured_deadline;
use super::source::Source;
use super::{audit, guard_policy};
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::remote::{self, Remote, not_of_an_issuer};
use crate::{output, private};

#[derive(Subcommand)]
pub(super) enum Act {
    /// Open an incident, and print the first draft of its report.
    #[command(after_help = EXAMPLES)]
    Open(OpenArgs),
    /// List incidents, the newest first.
    #[command(after_help = LIST)]
    List {
        /// At most so many, up to 1,000.
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
        limit: u32,
    },
    /// Print the report of an incident as it is now, with what a person must still answer.
    #[command(after_help = SHOW)]
    Show {
        /// The incident, as `edgepass breach list` shows it.
        id: String,
        /// Form of the output.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Answer what only people know, or note something.
    #[command(after_help = NOTE)]
    Note(NoteArgs),
    /// Close an incident. Its report can be exported still.
    #[command(after_help = CLOSE)]
    Close {
        /// The incident.
        id: String,
        /// Why, such as the outcome.
        #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// Write the report with its proofs to files: a page, and JSON that anybody can verify.
    #[command(after_help = EXPORT)]
    Export(ExportArgs),
    /// Verify an exported report. Needs nothing but the file and a checkpoint or the key of the log.
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Args),
}

const EXAMPLES: &str = "\
Examples:
  edgepass breach open --jti ID --leaked-at 2026-11-28T09:00:00Z --reason \"token in a public log\" --guard guard.toml
  edgepass breach open --token-file - --reason \"token in a chat\" < token.jwt
  edgepass breach open --client billing --reason \"its secret was in a repository\"
  edgepass breach open --leak 4711
  edgepass breach note in_M1QVJhyV5mC0kQ1sJ9y5Xg --set risk=unlikely --set cause=internal_not_malicious
  edgepass breach export in_M1QVJhyV5mC0kQ1sJ9y5Xg

The clock of Art. 33(1) GDPR runs from --aware-at. What only people know is left open, and asked for by name:
docs/governance.md.";

const LIST: &str = "\
Examples:
  edgepass breach list --json";

const SHOW: &str = "\
Examples:
  edgepass breach show in_M1QVJhyV5mC0kQ1sJ9y5Xg
  edgepass breach show in_M1QVJhyV5mC0kQ1sJ9y5Xg --format html > draft.html";

const NOTE: &str = "\
Examples:
  edgepass breach note in_M1QVJhyV5mC0kQ1sJ9y5Xg --set risk=high --set \"subjects_number=approximate 120\"
  edgepass breach note in_M1QVJhyV5mC0kQ1sJ9y5Xg --text \"the customer was called\"
  edgepass breach note in_M1QVJhyV5mC0kQ1sJ9y5Xg --guard guard.toml --doctor doctor.json
  edgepass breach note in_M1QVJhyV5mC0kQ1sJ9y5Xg --set risk=

`edgepass breach show ID` prints the names of open fields, with what each takes. An empty answer takes one back.";

const CLOSE: &str = "\
Examples:
  edgepass breach close in_M1QVJhyV5mC0kQ1sJ9y5Xg --reason \"no risk: the data were public\"";

const EXPORT: &str = "\
Examples:
  edgepass breach export in_M1QVJhyV5mC0kQ1sJ9y5Xg
  edgepass breach export in_M1QVJhyV5mC0kQ1sJ9y5Xg reports --checkpoint witness.checkpoint --private

Each export is a phase of the notification (Art. 33(4) GDPR), and an entry of the audit trail that holds the digest of the
report. Print the page with a browser to make a PDF.";

#[derive(clap::Args)]
pub(super) struct OpenArgs {
    #[command(flatten)]
    what: What,
    /// When it became known to others, such as 2026-11-28T09:00:00Z. Leave it out if nobody knows.
    #[arg(long, value_name = "TIME", value_parser = audit::time)]
    leaked_at: Option<u64>,
    /// When the controller became aware. Default: now, or with --leak the time of that entry.
    #[arg(long, value_name = "TIME", value_parser = audit::time)]
    aware_at: Option<u64>,
    /// The time in which an authority is to be told.
    #[arg(long, value_name = "DURATION", value_parser = DurationText::parse, default_value = "72h")]
    within: DurationText,
    /// What happened, in a sentence.
    #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new(), required_unless_present = "leak")]
    reason: Option<String>,
    #[command(flatten)]
    told: Told,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A token, by its `jti`; may be repeated.
    #[arg(long = "jti", allow_hyphen_values = true)]
    jtis: Vec<String>,
    /// File that contains the token, or - for stdin.
    #[arg(long, value_name = "FILE|-")]
    token_file: Option<PathBuf>,
    /// A client whose credential is concerned.
    #[arg(long, allow_hyphen_values = true)]
    client: Option<String>,
    /// A role whose tokens are concerned.
    #[arg(long, allow_hyphen_values = true)]
    role: Option<String>,
    /// The entry of the audit trail about a token that was reported as leaked: its position.
    #[arg(long, value_name = "POSITION")]
    leak: Option<u64>,
}

/// What files tell.
#[derive(clap::Args)]
struct Told {
    /// The policy of a guard, for the routes that were reached; may be repeated.
    #[arg(long, value_name = "FILE")]
    guard: Vec<PathBuf>,
    /// What `edgepass doctor --url ... --json` measured.
    #[arg(long, value_name = "FILE")]
    doctor: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct NoteArgs {
    /// The incident.
    id: String,
    /// A field and its answer; may be repeated.
    #[arg(long, value_name = "FIELD=ANSWER")]
    set: Vec<String>,
    /// A note.
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    #[command(flatten)]
    told: Told,
}

#[derive(clap::Args)]
pub(super) struct ExportArgs {
    /// The incident.
    id: String,
    /// The folder for the files.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// A checkpoint that a reader holds: the export proves that the log continues it; may be repeated. Those of
    /// [audit] checkpoints are always taken.
    #[arg(long = "checkpoint", value_name = "FILE|URL")]
    checkpoints: Vec<String>,
    /// Include who did something to the tokens, and why, also what a report of a leak said. Not what names a subject.
    #[arg(long)]
    private: bool,
}

#[derive(Clone, Copy, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Format {
    /// For a terminal.
    Text,
    /// A page that prints well.
    Html,
    /// JSON.
    Json,
}

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let act = match act {
        Act::Verify(args) => return verify::run(args, json).await,
        act => act,
    };
    let place = Place::open(source).await?;
    match act {
        Act::Open(args) => open(args, &place, json).await,
        Act::List { limit } => list(limit, &place, json).await,
        Act::Show { id, format } => {
            let report = place.report(&id).await?;
            show(&report, if json { Format::Json } else { format })
        }
        Act::Note(args) => note(args, &place, json).await,
        Act::Close { id, reason } => close(&id, reason, &place, json).await,
        Act::Export(args) => export(args, &place, json).await,
        Act::Verify(_) => Ok(Exit::Ok),
    }
}

/// Where the incidents are.
enum Place {
    Here(Box<Here>),
    Elsewhere(Remote),
}

struct Here {
    config: Config,
    issuer: Arc<Issuer<AnyStore>>,
    actor: String,
}

impl Here {
    fn desk(&self) -> Desk<'_, AnyStore> {
        let Self { config, issuer, actor } = self;
        Desk { issuer, config, actor, now: host::now() }
    }
}

impl Place {
    async fn open(source: &Source) -> anyhow::Result<Self> {
        Ok(match source.remote()? {
            Some(remote) => Self::Elsewhere(remote),
            None => {
                let config = source.load()?;
                let issuer = Arc::new(super::open_issuer(&config, &super::policy_user()).await?);
                Self::Here(Box::new(Here { config, issuer, actor: super::actor() }))
            }
        })
    }

    async fn opened(&self, opening: Opening) -> anyhow::Result<Report> {
        match self {
            Self::Elsewhere(remote) => read(remote.document("incidents", Some(&opening)).await?),
            Self::Here(here) => here.desk().open(opening, &mut OsEntropy).await.map_err(failed),
        }
    }

    async fn report(&self, id: &str) -> anyhow::Result<Report> {
        match self {
            Self::Elsewhere(remote) => read(remote.document(&path(id, "")?, None::<&()>).await?),
            Self::Here(here) => here.desk().report(id).await.map_err(failed),
        }
    }

    async fn note(&self, id: &str, noting: Noting) -> anyhow::Result<Value> {
        match self {
            Self::Elsewhere(remote) => remote.post(&path(id, "/notes")?, &noting).await,
            Self::Here(here) => Ok(view(&here.desk().note(id, noting).await.map_err(failed)?)),
        }
    }

    async fn close(&self, id: &str, reason: String) -> anyhow::Result<Value> {
        match self {
            Self::Elsewhere(remote) => {
                remote.post(&path(id, "/close")?, &CloseRequest { reason }).await
            }
            Self::Here(here) => Ok(view(&here.desk().close(id, &reason).await.map_err(failed)?)),
        }
    }

    async fn export(&self, id: &str, request: ExportRequest) -> anyhow::Result<Export> {
        match self {
            Self::Elsewhere(remote) => {
                read(remote.document(&path(id, "/export")?, Some(&request)).await?)
            }
            Self::Here(here) => {
                here.desk().export(id, request, &mut OsEntropy).await.map_err(failed)
            }
        }
    }

    /// The entry at a position of the audit trail.
    async fn entry(&self, position: u64) -> anyhow::Result<AuditEntry> {
        let page = Page {
            after: position.saturating_sub(1),
            before: position.saturating_add(1),
            ..Page::first(false, 1)
        };
        let found: Option<AuditEntry> = match self {
            Self::Elsewhere(remote) => {
                let found = remote.get("audit", &AuditQuery::of(0, page)).await?;
                let found = remote::records(&found, "entry")?.into_iter().next();
                found.map(|(_, entry)| read(entry)).transpose()?
            }
            Self::Here(here) => {
                let found = here.issuer.store().audit(0, page).await?;
                found.into_iter().next().map(|(_, entry)| entry)
            }
        };
        found.ok_or_else(|| {
            let refused = anyhow::Error::new(Failure::Refused);
            refused.context(format!("the audit trail has no entry {position}"))
        })
    }
}

fn read<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).map_err(|_| not_of_an_issuer())
}

fn failed(error: Failed) -> anyhow::Error {
    match error {
        Failed::None | Failed::Refused(_) => {
            anyhow::Error::new(Failure::Refused).context(error.to_string())
        }
        Failed::Store(error) => error.into(),
        Failed::Busy | Failed::Entropy => {
            anyhow::Error::new(Failure::Unavailable).context(error.to_string())
        }
        error => super::unavailable(error),
    }
}

/// The path of an incident below `/admin/v1/`.
fn path(id: &str, what: &str) -> anyhow::Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.is_empty() || !id.bytes().all(is_plain) {
        bail!("an incident is named by in_ and 22 characters; `edgepass breach list` lists them");
    }
    Ok(format!("incidents/{id}{what}"))
}

impl Told {
    fn routes(&self) -> anyhow::Result<Option<Vec<GuardedRoute>>> {
        if self.guard.is_empty() {
            return Ok(None);
        }
        let mut routes = Vec::new();
        for file in &self.guard {
            routes.extend(guard_policy::routes(file)?);
        }
        Ok(Some(routes))
    }

    fn measured(&self) -> anyhow::Result<Option<String>> {
        self.doctor.as_deref().map(measured_deadline).transpose()
    }
}

async fn open(args: OpenArgs, place: &Place, json: bool) -> anyhow::Result<Exit> {
    let OpenArgs { what, leaked_at, aware_at, within, reason, told } = args;
    let mut opening = Opening {
        client_id: what.client,
        role: what.role,
        jwt_ids: what.jtis,
        leaked_ms: leaked_at,
        aware_ms: aware_at,
        allowed: Some(within.0.as_secs()),
        reason: reason.unwrap_or_default(),
        routes: told.routes()?,
        measured: told.measured()?,
    };
    if let Some(file) = what.token_file {
        let token = output::read_token(&file)?;
        let id = unverified_jwt_id(&token).context("the file does not contain a token")?;
        opening.jwt_ids = vec![id];
    }
    if let Some(position) = what.leak {
        let entry = place.entry(position).await?;
        let AuditAct::TokenRevoked { jwt_id, report: Some(report), .. } = entry.act else {
            bail!(
                "entry {position} is no report of a leaked token; name what leaked with --jti, --client or --role"
            );
        };
        opening.jwt_ids = vec![jwt_id];
        opening.aware_ms = opening.aware_ms.or(Some(entry.at_ms));
        if opening.reason.is_empty() {
            let channel = report.channel;
            opening.reason = format!("a token was revoked on a report that it leaked ({channel})");
        }
    }
    let opened = place.opened(opening);
    let report = output::waiting_for("reading the audit trail", opened).await?;
    show(&report, if json { Format::Json } else { Format::Text })
}

fn show(report: &Report, format: Format) -> anyhow::Result<Exit> {
    output::line(&match format {
        Format::Text => render::text(report),
        Format::Html => render::html(report, None)?,
        Format::Json => serde_json::to_string(report)?,
    })?;
    Ok(Exit::Ok)
}

async fn list(limit: u32, place: &Place, json: bool) -> anyhow::Result<Exit> {
    let found: Vec<Value> = match place {
        Place::Elsewhere(remote) => {
            let query = PageQuery::of(Page::first(true, limit));
            let found = remote.get("incidents", &query).await?;
            remote::records(&found, "incident")?.into_iter().map(|(_, one)| one).collect()
        }
        Place::Here(here) => {
            let found = here.issuer.store().incidents(Page::first(true, limit)).await?;
            found.iter().map(|(_, one): &(u64, Incident)| summary(one)).collect()
        }
    };
    if json {
        output::json_lines(&found)?;
        return Ok(Exit::Ok);
    }
    if found.is_empty() {
        output::line("no incident was opened")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "STATE", "AWARE", "DUE", "REPORTS", "CONCERNS", "REASON"]);
    for one in &found {
        let time = |name: &str| {
            one[name].as_u64().map_or_else(|| "-".to_owned(), |ms| output::date(ms / 1000))
        };
        let reports = one["phases"].as_array().map_or(0, Vec::len);
        // As the report says: the first export counts, or else the time.
        let first = one.pointer("/phases/0/at_ms").and_then(Value::as_u64);
        let first = first.unwrap_or_else(|| host::now().0);
        let is_late = one["due_ms"].as_u64().is_some_and(|due| due < first);
        let state = match (one["closed_ms"].is_u64(), reports) {
            (true, _) => "closed",
            (false, 0) => "open",
            (false, _) => "open, exported",
        };
        let state = if is_late { format!("{state}, late") } else { state.to_owned() };
        table.add_row([
            one["id"].as_str().unwrap_or("-").to_owned(),
            state,
            time("aware_ms"),
            time("due_ms"),
            reports.to_string(),
            read::<Concerns>(one["concerns"].clone()).map(|it| render::concerns(&it))?,
            one["reason"].as_str().unwrap_or("-").replace('\n', " "),
        ]);
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Ok)
}

async fn note(args: NoteArgs, place: &Place, json: bool) -> anyhow::Result<Exit> {
    let mut answers = BTreeMap::new();
    for one in &args.set {
        let Some((name, answer)) = one.split_once('=') else {
            bail!("--set: write FIELD=ANSWER; `edgepass breach show ID` lists the open fields");
        };
        if answers.insert(name.trim().to_owned(), answer.to_owned()).is_some() {
            bail!("--set: a field is answered twice");
        }
    }
    let (routes, measured) = (args.told.routes()?, args.told.measured()?);
    // As it comes from elsewhere.
    let plain = |text: String| text.replace("\r\n", "\n").replace('\t', " ");
    let answers = answers.into_iter().map(|(name, answer)| (name, plain(answer))).collect();
    let noting = Noting { answers, text: args.text.map(plain), routes, measured };
    done(&place.note(&args.id, noting).await?, "noted", json)
}

/// Closes an incident, and tells what it leaves undone: it cannot be opened again.
async fn close(id: &str, reason: String, place: &Place, json: bool) -> anyhow::Result<Exit> {
    let exit = done(&place.close(id, reason).await?, "closed", json)?;
    // Whoever may close an incident may not be allowed to read the trail.
    let report = output::waiting_for("reading the audit trail", place.report(id)).await;
    let Ok(report) = report else {
        output::remark(
            "note: whether its tokens still work was not looked up: no report could be read",
        );
        return Ok(exit);
    };
    let live = report.facts.stop.live;
    if live > 0 {
        output::remark(&format!(
            "note: {live} of its tokens still work; `edgepass revoke` ends them"
        ));
    }
    let open = report.open().count();
    if open > 0 {
        output::remark(&format!("note: {open} fields of its report are open"));
    }
    Ok(exit)
}

fn done(incident: &Value, what: &str, json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json(incident)?;
    } else {
        let id = incident["id"].as_str().unwrap_or_default();
        output::line(&format!("{id} {what}; `edgepass breach show {id}` shows the report"))?;
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Exported<'e> {
    page: String,
    json: String,
    digest: &'e str,
    entry: u64,
    open: usize,
}

async fn export(args: ExportArgs, place: &Place, json: bool) -> anyhow::Result<Exit> {
    // Before anything is recorded: an export is a phase of the notification.
    make_folder(&args.folder)?;
    let mut older = Vec::new();
    for checkpoint in &args.checkpoints {
        older.push(
            size(&audit::checkpoint_text(checkpoint).await?)
                .with_context(|| format!("the checkpoint {checkpoint}"))?,
        );
    }
    if let Place::Here(here) = place {
        for file in here.config.audit_checkpoints.iter().filter(|file| file.exists()) {
            // `serve` refuses what is no checkpoint.
            older.extend(size(&output::read_text(file)?));
        }
    }
    older.sort_unstable();
    older.dedup();
    let request = ExportRequest { older, private: args.private };
    let exported = place.export(&args.id, request);
    let export = output::waiting_for("reading the audit trail", exported).await?;
    let report: Report = read(export.report.clone())?;
    // The entry is that of this export alone.
    let entry = export.binding.position;
    let name = |end: &str| args.folder.join(format!("{}-{entry}.{end}", report.incident));
    let (page, document) = (name("html"), name("json"));
    write(&document, &serde_json::to_string_pretty(&export)?)?;
    write(&page, &render::html(&report, Some(&export))?)?;
    let open = report.open().count();
    let (page, file) = (page.display().to_string(), document.display().to_string());
    if json {
        let (digest, entry) = (export.digest.as_str(), export.binding.position);
        let exported = Exported { page, json: file, digest, entry, open };
        output::json(&serde_json::to_value(exported)?)?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("{page}\n{file}"))?;
    output::line(&format!(
        "digest {}, in entry {} of the audit trail; `edgepass breach verify {file} --checkpoint FILE` verifies it",
        export.digest, export.binding.position
    ))?;
    if open > 0 {
        output::line(&format!(
            "{open} fields are open: this is an incomplete report (Art. 33(4)); `edgepass breach show {}` lists them",
            report.incident
        ))?;
    }
    Ok(Exit::Ok)
}

/// The number of entries that a checkpoint covers.
fn size(text: &str) -> anyhow::Result<u64> {
    let note = Note::parse(text.as_bytes()).context("it is no signed checkpoint")?;
    let checkpoint = Checkpoint::parse(note.text()).context("it is no checkpoint")?;
    Ok(checkpoint.tree().size)
}

/// Makes a folder, unless there is one, and sees whether files can be made in it.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {shown} cannot be made"))?;
    let probe = folder.join(".edgepass-breach");
    private::new_file(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .with_context(|| format!("no file can be made in the folder {shown}"))
}

/// Writes a file that nobody else reads. One that exists stays.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let mut new = private::new_file(file)
        .with_context(|| format!("{shown} cannot be made; a file of that name stays as it is"))?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        .with_context(|| format!("{shown} cannot be written"))
}
