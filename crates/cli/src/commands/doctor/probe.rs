//! Probes a guarded route with tokens issued for that purpose: looks for caches in front of the
//! guard, and after a revocation times the refusal and the caches of the status list.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use edgepass_issuer::issue::Recipient;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::policy::TokenRequest;
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::{Config, Issuer};
use edgepass_jose::CompactJws;
use edgepass_store::AnyStore;
use reqwest::Client;
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};
use serde_json::Value;

use super::Report;
use crate::commands::MAX_DOCUMENT;
use crate::commands::published::Published;
use crate::commands::status_act::act_and_publish;
use crate::host::{self, OsEntropy};
use edgepass_client::bounded;

/// The guarded URL, the issuer of the probe tokens, and the HTTP client.
pub(super) struct Probe<'a> {
    pub(super) config: &'a Config,
    pub(super) issuer: &'a Issuer<AnyStore>,
    pub(super) client: &'a Client,
    pub(super) url: &'a str,
}

impl Probe<'_> {
    /// Issues a token, calls the URL, revokes the token, and calls the URL until the guard refuses
    /// the token. Revokes the token even if the first call fails.
    pub(super) async fn run(&self, role: Option<&str>, report: &mut Report) -> anyhow::Result<()> {
        let (token, jwt_id, list) = self.issue(role).await?;
        let mut looked = Ok(());
        let passes = match self.call(Some(&token)).await {
            Ok(Reply { status, .. }) if status < 400 => {
                report.good("guard", format!("{} accepts a new token", self.url));
                looked = self.look_for_caches(role, report).await;
                true
            }
            Ok(Reply { status, code, .. }) => {
                let hint = match status {
                    401 => "does the guard trust this issuer and its audience?",
                    403 => "choose another role with --role",
                    404 | 405 => "name a route that takes GET",
                    _ => "its log may say more",
                };
                let answer = format!("{status} {code}");
                let says = format!("{} answers a new token with {}", self.url, answer.trim_end());
                report.bad("guard", format!("{says}; {hint}"));
                false
            }
            Err(error) => {
                report.bad("guard", format!("{error:#}"));
                false
            }
        };
        let before = self.number(&list).await;
        if !self.revoke(jwt_id).await? {
            report.bad("probe", "its revocation was recorded, not published");
            return looked;
        }
        // In parallel, so that neither measurement delays the other.
        let caches = async { Some(self.time_caches(&list, before?).await) };
        let refusal = async { if passes { Some(self.time_refusal(&token).await) } else { None } };
        let (caches, refusal) = tokio::join!(caches, refusal);
        for (what, timed) in [("caches", caches), ("probe", refusal)] {
            match timed {
                Some(Ok(says)) => report.good(what, says),
                Some(Err(says)) => report.bad(what, says),
                None => {}
            }
        }
        looked
    }

    /// Calls the URL without a token, then with a second token. A cache that answers in place of
    /// the guard would let any client in.
    async fn look_for_caches(&self, role: Option<&str>, report: &mut Report) -> anyhow::Result<()> {
        match self.call(None).await {
            Ok(Reply { status, .. }) if status < 400 => report.bad(
                "cache in front",
                format!(
                    "{} answers {status} without a token: a cache in front of the guard stores responses; turn it off (docs/deploy.md)",
                    self.url
                ),
            ),
            Ok(_) => report.good("cache in front", "the same URL does not accept a request without a token"),
            Err(error) => report.bad("guard", format!("{error:#}")),
        }
        let (other, jwt_id, _) = self.issue(role).await?;
        let reply = self.call(Some(&other)).await;
        self.revoke(jwt_id).await?;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                report.bad("guard", format!("{error:#}"));
                return Ok(());
            }
        };
        if let Some(sign) = sign_of_a_cache(&reply.headers) {
            let says = format!(
                "the response to a second token came from a cache, according to the header field {sign}"
            );
            report.bad("answers kept", says);
        } else if !may_not_be_kept(&reply.headers) {
            let says = "Cache-Control of the response is neither private nor no-store, so a shared cache may keep it for others";
            report.bad("answers kept", says);
        } else {
            report.good(
                "answers kept",
                "no sign of a cache, and the response forbids storing it in shared caches",
            );
        }
        Ok(())
    }

    /// Times how long caches still serve the old list at the public URI. `Err`: longer than
    /// `shared_max_age` and [`ROUND_TRIP`].
    #[expect(clippy::disallowed_methods, reason = "this is the host: a time is measured here")]
    async fn time_caches(&self, list: &str, before: u64) -> Result<String, String> {
        let published_at = Instant::now();
        let allowed = self.config.freshness.shared_max_age();
        while published_at.elapsed() < CACHE_TIME_LIMIT {
            if self.number(list).await.is_some_and(|number| number > before) {
                let took = published_at.elapsed();
                let says = format!(
                    "{:.1} s from publication until the public address served the list; shared_max_age is {} s",
                    took.as_secs_f64(),
                    allowed.as_secs_f64(),
                );
                return if took <= allowed.saturating_add(ROUND_TRIP) {
                    Ok(says)
                } else {
                    Err(format!("{says}: too late; see docs/operations.md"))
                };
            }
            tokio::time::sleep(POLL).await;
        }
        Err(format!(
            "the public address still serves the old list after {} s",
            CACHE_TIME_LIMIT.as_secs()
        ))
    }

    /// The claim `number` of the list at its public URI, requested with `no-cache` as verifiers do.
    /// `None`: the response has no such claim.
    async fn number(&self, list: &str) -> Option<u64> {
        let request = self.client.get(list).header(CACHE_CONTROL, "no-cache");
        let mut answer = request.send().await.ok()?;
        let body = bounded(&mut answer, MAX_DOCUMENT).await.ok()??;
        let jws = CompactJws::parse(std::str::from_utf8(&body).ok()?, MAX_DOCUMENT).ok()?;
        jws.claims().ok()?.get("number")?.as_u64()
    }

    /// Times how long the guard still accepts the token after its revocation is published. `Err`:
    /// longer than the deadline, or refused for another reason.
    #[expect(clippy::disallowed_methods, reason = "this is the host: a time is measured here")]
    async fn time_refusal(&self, token: &str) -> Result<String, String> {
        let revoked_at = Instant::now();
        let limit = self.config.revocation.outage_bound().unwrap_or(OUTAGE);
        while revoked_at.elapsed() < limit {
            match self.call(Some(token)).await.map_err(|error| format!("{error:#}"))? {
                Reply { code, .. } if code == "token_revoked" => {
                    let took = revoked_at.elapsed();
                    let says = format!("refused {:.1} s after its revocation", took.as_secs_f64());
                    let deadline = self.config.revocation.deadline();
                    let is_late = deadline.is_some_and(|deadline| took > deadline);
                    return if is_late {
                        Err(format!("{says}: later than the deadline"))
                    } else {
                        Ok(says)
                    };
                }
                Reply { status, code, .. } if status >= 400 => {
                    return Err(format!("refused with {status} {code}, not as revoked"));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
        Err(format!("still accepted {} s after its revocation", limit.as_secs()))
    }

    /// Issues a probe token. Returns it with its `jti` and the URI of its list.
    async fn issue(&self, role: Option<&str>) -> anyhow::Result<(String, String, String)> {
        let policy = self.issuer.policy();
        let role = match role {
            Some(name) => policy.role(name)?,
            None => policy.roles.first().ok_or_else(|| anyhow!("no role is configured"))?,
        };
        let lifetime = Some(LIFETIME.min(role.max_lifetime));
        let request = TokenRequest { lifetime, ..TokenRequest::default() };
        let now = host::now();
        let grant = policy.grant(role, &request, now)?;
        let name = "edgepass-doctor".to_owned();
        let recipient = Recipient::new(name.clone(), name, crate::commands::actor());
        let granted = self.issuer.grant(&policy, &grant, &recipient, &mut OsEntropy, now)?;
        let issued = self.issuer.issue(granted, now).await?;
        let list = self.issuer.list_uri(&issued.list_id);
        Ok((issued.token, issued.jwt_id, list))
    }

    /// Revokes a probe token. Returns whether the revocation was published within 5 s.
    async fn revoke(&self, jwt_id: String) -> anyhow::Result<bool> {
        let store = &**self.issuer.store();
        let act = NewAct {
            change: StatusChange::Revoke,
            selection: Selection::JwtIds(vec![jwt_id]),
            reason: "probe of edgepass doctor".into(),
            actor: crate::commands::actor(),
            policy: self.issuer.policy().number(),
            report: None,
            at: host::now(),
        };
        Ok(act_and_publish(self.config, store, &act).await?.1 == Published::Everywhere)
    }

    /// Calls the URL with GET, and with the token if there is one.
    async fn call(&self, token: Option<&str>) -> anyhow::Result<Reply> {
        let request = self.client.get(self.url);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await;
        let mut answer = answer.with_context(|| format!("{} does not answer", self.url))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        // A body without a code, such as one of the origin, gives an empty one.
        let body = bounded(&mut answer, MAX_DOCUMENT).await?.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Reply { status, code, headers })
    }
}

/// A response of the guarded URL. `code` is that of the problem document (RFC 9457), else empty.
struct Reply {
    status: u16,
    code: String,
    headers: HeaderMap,
}

/// The name of a header field which shows that a cache answered. `None`: no field does.
fn sign_of_a_cache(headers: &HeaderMap) -> Option<&'static str> {
    let says = |name: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(",").to_ascii_lowercase()
    };
    // Values used by Cloudflare, RFC 9211, nginx (by convention), Varnish and others.
    let hits = ["hit", "stale", "updating", "revalidated"];
    let is_hit = |name: &&str| hits.iter().any(|hit| says(name).contains(hit));
    if headers.contains_key(AGE) {
        return Some("Age");
    }
    ["cf-cache-status", "cache-status", "x-cache", "x-cache-status", "x-proxy-cache"]
        .into_iter()
        .find(is_hit)
}

fn may_not_be_kept(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(','));
    directives.any(|directive| {
        ["private", "no-store"].iter().any(|name| directive.trim().eq_ignore_ascii_case(name))
    })
}

/// Lifetime of a probe token in seconds, unless the role's longest is shorter.
const LIFETIME: u64 = 300;
const POLL: Duration = Duration::from_millis(100);
/// The tolerance of the cache measurement: `doctor` reports a cache as too slow after
/// `shared_max_age` plus this time.
const ROUND_TRIP: Duration = Duration::from_millis(500);
/// Longest wait for a published list at its public URI.
const CACHE_TIME_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for the refusal if the configuration sets no outage bound.
const OUTAGE: Duration = Duration::from_secs(70);
