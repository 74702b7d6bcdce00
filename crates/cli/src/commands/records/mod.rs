//! `edgepass records`: what the law wants to be written down.

mod render;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use edgepass_issuer::Config;
use edgepass_issuer::records::{Issued, Measured, records};
use edgepass_issuer::storage::{LogStore, Page, TokenFilter, TokenStore};
use edgepass_server::admin::review::unreviewed;
use serde_json::Value;

use super::guard_policy;
use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::{host, output};

#[derive(Subcommand)]
pub(super) enum Act {
    /// Print the record of processing activities (Art. 30 GDPR) of each party to an agreement.
    #[command(after_help = EXAMPLES)]
    Art30(Art30Args),
}

const EXAMPLES: &str = "\
Examples:
  edgepass records art30 --format html > record.html
  edgepass records art30 --controller \"Example Shop SE\" --format md
  edgepass doctor --url https://api.example/invoices --json > doctor.json
  edgepass records art30 --doctor doctor.json --guard guard.toml --format json

Agreements, scopes and [[party]] of the configuration give what they say; what is missing is unknown, with what to
write where: docs/governance.md.";

#[derive(clap::Args)]
pub(super) struct Art30Args {
    /// Only the record of this controller, and those of processors that have agreements with it.
    #[arg(long, value_name = "NAME")]
    controller: Option<String>,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
    /// What `edgepass doctor --url ... --json` measured; of an environment as NAME=FILE. May be repeated.
    #[arg(long, value_name = "[ENVIRONMENT=]FILE")]
    doctor: Vec<String>,
    /// The policy of a guard, for what it masks; of an environment as NAME=FILE. May be repeated.
    #[arg(long, value_name = "[ENVIRONMENT=]FILE")]
    guard: Vec<String>,
}

#[derive(Clone, Copy, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// Markdown.
    Md,
    /// A page that prints well.
    Html,
    /// JSON-LD with the terms of DPV 2.3.
    Json,
    /// Comma-separated values, a line for each field (RFC 4180).
    Csv,
}

/// The newest tokens that are looked at.
const TOKENS: u32 = 1000;

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let Act::Art30(args) = act;
    let all = source.all()?.environments;
    let environments: Vec<Config> = all
        .into_iter()
        .filter(|config| source.environment.is_none() || config.environment == source.environment)
        .collect();
    if environments.is_empty() {
        bail!("the configuration has no such environment");
    }
    let (doctor, guard) = (files(&args.doctor)?, files(&args.guard)?);
    for (name, _) in doctor.iter().chain(&guard) {
        if name.is_some() && environments.iter().all(|config| config.environment != *name) {
            bail!("--doctor and --guard: an environment that is not in the configuration");
        }
    }
    let is_unnamed = doctor.iter().chain(&guard).any(|(name, _)| name.is_none());
    if is_unnamed && environments.len() > 1 {
        bail!("--doctor and --guard: say of which environment, as NAME=FILE");
    }
    let mut measured = Vec::new();
    for config in &environments {
        measured.push(measure(config, &doctor, &guard).await?);
    }
    let found = records(&environments, &measured, args.controller.as_deref());
    if found.is_empty() {
        let hint = match &args.controller {
            Some(_) => "no agreement names that controller as a party",
            None => "the configuration has no agreement under which a role is used",
        };
        return Err(anyhow::Error::new(Failure::Refused).context(hint));
    }
    let made = output::date_ms(host::now().0);
    let format = if json { Format::Json } else { args.format };
    let text = match format {
        Format::Md => render::markdown(&found, &made),
        Format::Html => render::html(&found, &made)?,
        Format::Json => render::json(&found, &made).to_string(),
        Format::Csv => render::csv(&found)?,
    };
    output::line(text.trim_end())?;
    Ok(Exit::Ok)
}

/// The files of an option, each with the environment that it is of.
fn files(named: &[String]) -> anyhow::Result<Vec<(Option<String>, PathBuf)>> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, file)) => (Some(name.to_owned()), PathBuf::from(file)),
        None => (None, PathBuf::from(text)),
    };
    let files: Vec<_> = named.iter().map(one).collect();
    if files.iter().any(|(_, file)| file.as_os_str().is_empty()) {
        bail!("--doctor and --guard: write [ENVIRONMENT=]FILE");
    }
    Ok(files)
}

async fn measure(
    config: &Config,
    doctor: &[(Option<String>, PathBuf)],
    guard: &[(Option<String>, PathBuf)],
) -> anyhow::Result<Measured> {
    let store = super::open_store(config).await?;
    let newest = store.tokens(&TokenFilter::default(), Page::first(true, TOKENS)).await?;
    let lasts = |facts: &edgepass_issuer::token_facts::TokenFacts| {
        facts.expiration.saturating_sub(facts.issued_at)
    };
    let issued = (!newest.is_empty()).then(|| Issued {
        tokens: newest.len() as u64,
        longest: newest.iter().map(|token| lasts(&token.facts)).max().unwrap_or_default(),
        bound: newest.iter().filter(|token| token.facts.confirmation.is_some()).count() as u64,
    });
    let of = |files: &[(Option<String>, PathBuf)]| -> Vec<PathBuf> {
        let fits =
            |(name, _): &&(Option<String>, PathBuf)| name.is_none() || *name == config.environment;
        files.iter().filter(fits).map(|(_, file)| file.clone()).collect()
    };
    let mut deadline = None;
    for file in of(doctor) {
        deadline = Some(measured_deadline(&file)?);
    }
    let mut masks: Option<Vec<String>> = None;
    for file in of(guard) {
        let routes = guard_policy::routes(&file)?;
        let lines = routes
            .iter()
            .flat_map(|route| route.masks.iter().map(|mask| format!("{}: {mask}", route.name)));
        masks.get_or_insert_default().extend(lines);
    }
    let log = store.log().await?;
    Ok(Measured {
        environment: config.environment.clone(),
        issued,
        deadline,
        audit_entries: log.map_or(0, |log| log.size),
        unreviewed: unreviewed(&store).await?.into_iter().map(|one| one.id).collect(),
        masks,
    })
}

/// What `doctor` found about the time until a revoked token is refused.
pub(super) fn measured_deadline(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let report: Value = serde_json::from_str(&text)
        .with_context(|| format!("{shown} is no output of doctor --json"))?;
    let findings = report.get("findings").and_then(Value::as_array);
    let probe = findings.and_then(|all| all.iter().find(|one| one["what"] == "probe"));
    let says = probe.and_then(|one| one["says"].as_str());
    let says = says.with_context(|| {
        format!("{shown} has no measurement: run `edgepass doctor --url URL --json`")
    })?;
    let state = if probe.is_some_and(|one| one["state"] == "ok") { "" } else { "WRONG: " };
    let at = report.get("at").and_then(Value::as_str).unwrap_or("an unknown time");
    Ok(format!("{state}{says} (measured at {at})"))
}
