//! Ends the tokens of agreements that are not in force any more.

use std::time::Duration;

use edgepass_issuer::Store;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::storage::StoreError;
use edgepass_verify::UnixMillis;

use crate::{App, error_chain};

/// Pause between two looks at the policy.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the agreements are looked at again after a change: a process that has not read the new policy yet may
/// still issue under the old one.
const AFTER_CHANGE: Duration = Duration::from_secs(60);
/// Pause after a failure, and between two looks after a change.
const AGAIN: Duration = Duration::from_secs(5);

/// Looks at each new policy, and again when an agreement ends, until the task is dropped. A token never outlives its
/// agreement as it was when the token was issued. So tokens are left without one by another policy, at once or when
/// the end comes that it sets.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    let (mut seen, mut changed, mut due) = (0, UnixMillis(0), UnixMillis(0));
    loop {
        let (policy, now) = (app.issuer.policy(), (app.host.now)());
        if policy.number() != seen {
            (seen, changed, due) = (policy.number(), now, now);
        }
        if now >= due {
            let next = end(app, &policy).await;
            let is_settled = now >= changed.plus(AFTER_CHANGE);
            due = match next {
                Some(next) if is_settled => next,
                next => now.plus(AGAIN).min(next.unwrap_or(UnixMillis(u64::MAX))),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Revokes the tokens of agreements that the policy does not have in force. Returns when the next one ends. `None`: not
/// all was done.
async fn end<S: Store>(app: &App<S>, policy: &LivePolicy) -> Option<UnixMillis> {
    let now = (app.host.now)();
    let ids = match known(app).await {
        Ok(ids) => ids,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "agreements are not readable");
            return None;
        }
    };
    let (mut is_done, mut next) = (true, UnixMillis(u64::MAX));
    for id in ids {
        match policy.agreement(&id).map(|own| own.remaining(now)) {
            Some(Ok(None)) => {}
            Some(Ok(Some(left))) => next = next.min(now.plus(Duration::from_secs(left))),
            Some(Err(_)) | None => is_done &= end_one(app, policy, id, now).await,
        }
    }
    is_done.then_some(next)
}

async fn end_one<S: Store>(app: &App<S>, policy: &LivePolicy, id: String, now: UnixMillis) -> bool {
    let after = now.numeric_date().seconds();
    match app.issuer.store().is_agreement_used(&id, after).await {
        Ok(true) => {}
        Ok(false) => return true,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "tokens of an agreement are not readable");
            return false;
        }
    }
    let act = NewAct {
        change: StatusChange::Revoke,
        reason: format!("the agreement {id} is not in force any more"),
        selection: Selection::Fitting(Filter { agreement: Some(id), ..Filter::default() }),
        actor: "policy".to_owned(),
        policy: policy.number(),
        report: None,
        at: now,
    };
    match app.act(&act).await {
        Ok(_) => true,
        Err(error) => {
            let error = error_chain(&error);
            tracing::error!(error, "the tokens of an agreement that has ended are not revoked yet");
            false
        }
    }
}

/// The agreements under which recorded tokens were issued.
async fn known<S: Store>(app: &App<S>) -> Result<Vec<String>, StoreError> {
    let mut ids = Vec::new();
    let mut after = String::new();
    while let Some(id) = app.issuer.store().agreement_after(&after).await? {
        after.clone_from(&id);
        ids.push(id);
    }
    Ok(ids)
}
