//! Changes of requests for access, and what follows: notices, and the end of tokens.

use std::sync::Arc;
use std::time::Duration;

use edgepass_issuer::access::{AccessChange, AccessError, AccessRequest, Ask, Party};
use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::storage::{
    AccessStore, Added, Channel, KeyStore, NewNotice, PolicyStore, StoreError,
};
use edgepass_issuer::{Issuer, Store};
use edgepass_jose::base64url;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{App, error_chain};

/// Attempts to change a request that others change at the same time.
const ATTEMPTS: usize = 20;
/// Pause between two looks for access that was ended.
const PAUSE: Duration = Duration::from_secs(2);

/// The body of a decision.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Whether it is an approval.
    pub approves: bool,
    /// The digest of the request as it was shown. A denial needs none.
    #[serde(default)]
    pub digest: String,
    /// What to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// The body of a review.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewRequest {
    /// What to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A request that was changed, and the policy by which.
pub struct Changed {
    /// The request.
    pub request: AccessRequest,
    /// The policy.
    pub policy: Arc<LivePolicy>,
}

/// The reason why a request is not changed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// There is no such request.
    #[error("there is no such request for access; `edgepass access list` lists them")]
    None,
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] AccessError),
    /// Others change it at the same time.
    #[error("the request is being changed; try again")]
    Busy,
    /// There is no randomness for a name.
    #[error("no request can be made now")]
    Entropy,
    /// Storage failed.
    #[error("requests for access cannot be looked up")]
    Store(#[from] StoreError),
}

impl From<NoEntropy> for Failed {
    fn from(_: NoEntropy) -> Self {
        Self::Entropy
    }
}

/// Asks for access.
///
/// # Errors
///
/// [`Failed`].
pub async fn ask<S: AccessStore + KeyStore + PolicyStore>(
    issuer: &Issuer<S>,
    ask: Ask,
    party: &Party,
    entropy: &mut (impl Entropy + Send),
    now: UnixMillis,
) -> Result<Changed, Failed> {
    let policy = issuer.policy();
    let id = format!("ar_{}", base64url::encode(&entropy.bytes::<16>()?));
    let request = AccessRequest::ask(id, ask, party, &policy, now)?;
    let change = match request.break_glass {
        true => AccessChange::BrokeGlass,
        false => AccessChange::Asked,
    };
    let entry = request.entry(change, &party.name, &policy, now);
    let notices = notices(issuer, &request, change, &party.name, &policy, now);
    match issuer.store().add_access(&request, &entry, &notices).await? {
        Added::Recorded => Ok(Changed { request, policy }),
        Added::TooMany => Err(AccessError::TooMany.into()),
        Added::InTheWay(other) if request.break_glass => Err(AccessError::Unreviewed(other).into()),
        Added::InTheWay(other) => Err(AccessError::Asked(other).into()),
    }
}

/// Approves or denies a request.
///
/// # Errors
///
/// [`Failed`].
pub async fn decide<S: AccessStore + KeyStore + PolicyStore>(
    issuer: &Issuer<S>,
    id: &str,
    decision: DecisionRequest,
    party: &Party,
    now: UnixMillis,
) -> Result<Changed, Failed> {
    let DecisionRequest { approves, digest, comment } = decision;
    let what = if approves { AccessChange::Approved } else { AccessChange::Denied };
    change(issuer, id, what, party, now, |request, policy| {
        request.decide((approves, &digest), comment.clone(), party, policy, now)
    })
    .await
}

/// Takes a request back, or ends access. Its tokens are still to be revoked.
///
/// # Errors
///
/// [`Failed`].
pub async fn end<S: AccessStore + KeyStore + PolicyStore>(
    issuer: &Issuer<S>,
    id: &str,
    party: &Party,
    now: UnixMillis,
) -> Result<Changed, Failed> {
    change(issuer, id, AccessChange::Ended, party, now, |request, policy| {
        request.end(party, policy, now)
    })
    .await
}

/// Records that somebody has looked at what was done without an approval.
///
/// # Errors
///
/// [`Failed`].
pub async fn review<S: AccessStore + KeyStore + PolicyStore>(
    issuer: &Issuer<S>,
    id: &str,
    ReviewRequest { comment }: ReviewRequest,
    party: &Party,
    now: UnixMillis,
) -> Result<Changed, Failed> {
    change(issuer, id, AccessChange::Reviewed, party, now, |request, policy| {
        request.review(comment.clone(), party, policy, now)
    })
    .await
}

async fn change<S: AccessStore + KeyStore + PolicyStore>(
    issuer: &Issuer<S>,
    id: &str,
    what: AccessChange,
    party: &Party,
    now: UnixMillis,
    change: impl Fn(&mut AccessRequest, &LivePolicy) -> Result<(), AccessError> + Send + Sync,
) -> Result<Changed, Failed> {
    for _ in 0..ATTEMPTS {
        let policy = issuer.policy();
        let mut request = issuer.store().access(id).await?.ok_or(Failed::None)?;
        let seen = request.version;
        change(&mut request, &policy)?;
        let entry = request.entry(what, &party.name, &policy, now);
        let notices = notices(issuer, &request, what, &party.name, &policy, now);
        if issuer.store().change_access(seen, &request, &entry, &notices).await? {
            return Ok(Changed { request, policy });
        }
    }
    Err(Failed::Busy)
}

/// What is told of a change: everything to the webhook, and what waits for somebody by e-mail.
fn notices<S>(
    issuer: &Issuer<S>,
    request: &AccessRequest,
    change: AccessChange,
    by: &str,
    policy: &LivePolicy,
    now: UnixMillis,
) -> Vec<NewNotice> {
    let rule = policy.approval(&request.role);
    let data = json!({
        "issuer": issuer.issuer(),
        "by": by,
        "access_request": crate::admin::access::view(request, policy, now),
        "may_approve": rule.map(|rule| &rule.may_approve),
    });
    let kind = format!("access.{}", change.name());
    let (at_ms, is_urgent) = (now.0, change == AccessChange::BrokeGlass);
    let notice = |channel, document: Value| NewNotice {
        channel,
        at_ms,
        is_urgent,
        document: document.to_string(),
    };
    let webhook = notice(Channel::Webhook, json!({ "type": kind, "data": data }));
    // One for each address: what one does not take is not sent to the others again.
    let told = rule.filter(|_| change.is_mailed()).map(|rule| rule.tell.as_slice());
    let mails = told
        .unwrap_or_default()
        .iter()
        .map(|to| notice(Channel::Mail, json!({ "type": kind, "to": to, "data": data })));
    std::iter::once(webhook).chain(mails).collect()
}

/// The act that revokes the tokens of access that was ended.
pub fn revocation(request: &AccessRequest, policy: u64, now: UnixMillis) -> NewAct {
    let filter = Filter { grant: Some(request.id.clone()), ..Filter::default() };
    NewAct {
        change: StatusChange::Revoke,
        selection: Selection::Fitting(filter),
        reason: "access was ended".to_owned(),
        actor: request.ended_by.clone().unwrap_or_else(|| "policy".to_owned()),
        policy,
        report: None,
        at: now,
    }
}

/// Revokes the tokens of access that was ended. Returns whether everybody is told that they are revoked.
pub(crate) async fn end_tokens<S: Store>(app: &App<S>, request: &AccessRequest) -> bool {
    let act = revocation(request, app.issuer.policy().number(), (app.host.now)());
    let ended = async {
        let done = app.act(&act).await.map_err(|error| error_chain(&error))?;
        let settled = app.issuer.store().settle_access(&request.id).await;
        settled.map_err(|error| error_chain(&error))?;
        Ok::<bool, String>(done.is_published)
    };
    ended.await.unwrap_or_else(|error| {
        tracing::error!(error, "the tokens of access that was ended are not revoked yet");
        false
    })
}

/// Revokes the tokens of access that was ended and whose process did not get to it, until the task is dropped.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        match app.issuer.store().unsettled_access().await {
            Ok(requests) => {
                for request in &requests {
                    end_tokens(app, request).await;
                }
            }
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "requests for access are not readable");
            }
        }
    }
}
