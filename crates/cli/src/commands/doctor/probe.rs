//! A token of our own, revoked: how long until the guard refuses it?

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use edgepass_issuer::issue::Recipient;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::policy::TokenRequest;
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::{Config, Issuer};
use edgepass_store::SqliteStore;
use reqwest::Client;
use serde_json::Value;

use super::Report;
use crate::commands::published::Published;
use crate::commands::status_act::act_and_publish;
use crate::host::{self, OsEntropy};
use crate::native::{MAX_DOCUMENT, bounded};

/// What is probed, and with what.
pub(super) struct Probe<'a> {
    pub(super) config: &'a Config,
    pub(super) issuer: &'a Issuer<SqliteStore>,
    pub(super) client: &'a Client,
    pub(super) url: &'a str,
}

impl Probe<'_> {
    /// Issue, call, revoke, call until it is refused. The probe never stays valid.
    pub(super) async fn run(&self, role: Option<&str>, report: &mut Report) -> anyhow::Result<()> {
        let (token, jwt_id) = self.issue(role).await?;
        let passes = match self.call(&token).await {
            Ok((status, _)) if status < 400 => {
                report.good("guard", format!("{} lets a fresh token pass", self.url));
                true
            }
            Ok((status, code)) => {
                let url = self.url;
                report.bad(
                    "guard",
                    format!(
                        "{url} answers a fresh token with {status} {code}; --role names the token's role"
                    ),
                );
                false
            }
            Err(error) => {
                report.bad("guard", format!("{error:#}"));
                false
            }
        };
        let is_published = self.revoke(jwt_id).await?;
        if !is_published {
            report.bad("probe", "its revocation was recorded, not published");
        }
        if passes && is_published {
            self.time_refusal(&token, report).await;
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the host: a time is measured here")]
    async fn time_refusal(&self, token: &str, report: &mut Report) {
        let revoked_at = Instant::now();
        let patience = self.config.revocation.outage_bound().unwrap_or(OUTAGE);
        while revoked_at.elapsed() < patience {
            match self.call(token).await {
                Ok((_, code)) if code == "token_revoked" => {
                    self.tell(revoked_at.elapsed(), report);
                    return;
                }
                Ok((status, code)) if status >= 400 => {
                    report.bad("probe", format!("refused with {status} {code}, not as revoked"));
                    return;
                }
                Ok(_) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    report.bad("probe", format!("{error:#}"));
                    return;
                }
            }
        }
        report
            .bad("probe", format!("still accepted {} s after its revocation", patience.as_secs()));
    }

    fn tell(&self, took: Duration, report: &mut Report) {
        let seconds = took.as_secs_f64();
        match self.config.revocation.deadline() {
            Some(deadline) if took > deadline => {
                report.bad("probe", format!("refused {seconds:.1} s after its revocation: late"));
            }
            _ => report.good("probe", format!("refused {seconds:.1} s after its revocation")),
        }
    }

    async fn issue(&self, role: Option<&str>) -> anyhow::Result<(String, String)> {
        let policy = &self.config.policy;
        let role = match role {
            Some(name) => policy.role(name)?,
            None => policy.roles.first().ok_or_else(|| anyhow!("no role is configured"))?,
        };
        let grant = role.grant(&TokenRequest {
            scope: None,
            lifetime: Some(LIFETIME.min(role.max_lifetime)),
        })?;
        let recipient = Recipient {
            client_id: "edgepass-doctor".into(),
            subject: "edgepass-doctor".into(),
            actor: crate::commands::actor(),
        };
        let now = host::now();
        let approved = self.issuer.approve(&grant, &recipient, &mut OsEntropy, now)?;
        let issued = self.issuer.issue(approved, now).await?;
        Ok((issued.token, issued.jwt_id))
    }

    /// Revoke the probe; true when that is published.
    async fn revoke(&self, jwt_id: String) -> anyhow::Result<bool> {
        let store = &**self.issuer.store();
        let act = NewAct {
            change: StatusChange::Revoke,
            selection: Selection::JwtIds(vec![jwt_id]),
            reason: "probe of edgepass doctor".into(),
            actor: crate::commands::actor(),
            at: host::now(),
        };
        Ok(act_and_publish(self.config, store, &act).await?.1 == Published::Everywhere)
    }

    /// Status and code of the guard's answer.
    async fn call(&self, token: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.client.get(self.url).bearer_auth(token).send().await;
        let mut answer = answer.with_context(|| format!("{} does not answer", self.url))?;
        let status = answer.status().as_u16();
        // What is no problem document has no code.
        let body = bounded(&mut answer, MAX_DOCUMENT).await?.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
    }
}

/// Of the probe, in seconds.
const LIFETIME: u64 = 300;
const POLL: Duration = Duration::from_millis(100);
const OUTAGE: Duration = Duration::from_secs(70);
