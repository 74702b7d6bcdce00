//! `edgepass doctor`: reports the bounds, and checks keys, targets, served documents and, with
//! `--url`, the guard.

mod bounds;
mod probe;
mod served;
mod targets;

use std::sync::Arc;

use anyhow::Context;
use edgepass_issuer::Issuer;
use serde_json::{Value, json};

use super::source::Source;
use crate::exit::Exit;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// URL of a guarded route. doctor issues probe tokens for it, looks for caches in front of the
    /// guard, revokes the tokens, and times the refusal and the caches of the status list.
    #[arg(long, value_name = "GUARD")]
    url: Option<String>,
    /// Role of the probe tokens. The guard must accept its tokens at that URL. Default: the first
    /// role.
    #[arg(long, requires = "url")]
    role: Option<String>,
}

/// Findings in the order of the checks.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
}

struct Finding {
    what: String,
    state: State,
    says: String,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    /// The check passed.
    Good,
    /// The state needs attention, but does not make `doctor` fail.
    Warning,
    /// The check failed; `doctor` exits with code 1.
    Bad,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let config = source.load()?;
    let mut report = Report::default();
    bounds::look(&config, &mut report);
    let store = Arc::new(super::open_store(&config).await?);
    bounds::look_at_policy(&config, &*store, &mut report).await?;
    bounds::look_at_keys(&config, &*store, &mut report).await?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(edgepass_client::USER_AGENT)
        .build()
        .context("TLS cannot be set up")?;
    targets::look(&config, &*store, &client, &mut report).await?;
    served::look(&config, &*store, &client, &mut report).await?;
    if let Some(url) = &args.url {
        let vault = crate::vault::load(&config)?;
        let issuer =
            Issuer::open(Arc::clone(&store), &config, vault, &super::policy_user()).await?;
        let probe = probe::Probe { config: &config, issuer: &issuer, client: &client, url };
        probe.run(args.role.as_deref(), &mut report).await?;
    }
    report.tell(json)
}

impl Report {
    fn good(&mut self, what: &str, says: impl Into<String>) {
        self.push(what, State::Good, says.into());
    }

    fn warn(&mut self, what: &str, says: impl Into<String>) {
        self.push(what, State::Warning, says.into());
    }

    fn bad(&mut self, what: &str, says: impl Into<String>) {
        self.push(what, State::Bad, says.into());
    }

    fn push(&mut self, what: &str, state: State, says: String) {
        self.findings.push(Finding { what: what.to_owned(), state, says });
    }

    fn tell(&self, json: bool) -> anyhow::Result<Exit> {
        let count = |state| self.findings.iter().filter(|one| one.state == state).count();
        let (warnings, bad) = (count(State::Warning), count(State::Bad));
        if json {
            let finding = |one: &Finding| json!({ "what": one.what, "state": one.state.name(), "says": one.says });
            let findings: Vec<Value> = self.findings.iter().map(finding).collect();
            let at = output::date_ms(crate::host::now().0);
            output::json(&json!({ "healthy": bad == 0, "at": at, "findings": findings }))?;
        } else {
            for one in &self.findings {
                output::line(&format!("{:<5} {:<18} {}", one.state.name(), one.what, one.says))?;
            }
            let good = count(State::Good);
            output::line(&format!("\n{good} ok, {warnings} to watch, {bad} wrong"))?;
        }
        Ok(if bad == 0 { Exit::Ok } else { Exit::Refused })
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "watch",
            Self::Bad => "WRONG",
        }
    }
}

/// Timeout of one HTTP request.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
