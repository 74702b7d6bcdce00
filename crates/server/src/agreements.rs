//! Ends the tokens of agreements that are not in force any more.

use std::collections::BTreeSet;
use std::time::Duration;

use edgepass_issuer::Store;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::storage::{Page, StoreError, TokenFilter};
use edgepass_verify::UnixMillis;
use serde_json::Value;

use crate::{App, error_chain};

/// Pause between two looks at the policy.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest lifetime of a token, and a margin for clocks, in milliseconds.
const LONGEST_LIFE_MS: u64 = 25 * 60 * 60 * 1000;

/// Looks at each new policy, until the task is dropped. A token never outlives its agreement as it was when the
/// token was issued, so only another policy can leave a token without one.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    let mut seen = 0;
    loop {
        let policy = app.issuer.policy();
        if policy.number() != seen && end(app, &policy).await {
            seen = policy.number();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Revokes the live tokens of agreements that the policy does not have in force. Returns whether all was done.
async fn end<S: Store>(app: &App<S>, policy: &LivePolicy) -> bool {
    let now = (app.host.now)();
    let ids = match known(app, now).await {
        Ok(ids) => ids,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "agreements are not readable");
            return false;
        }
    };
    let mut is_done = true;
    let in_force = |id: &String| policy.agreement(id).is_some_and(|own| own.remaining(now).is_ok());
    for id in ids.into_iter().filter(|id| !in_force(id)) {
        is_done &= end_one(app, policy, id, now).await;
    }
    is_done
}

async fn end_one<S: Store>(app: &App<S>, policy: &LivePolicy, id: String, now: UnixMillis) -> bool {
    let live = TokenFilter {
        agreement: Some(id.clone()),
        live_at: Some(now.numeric_date().seconds()),
        ..TokenFilter::default()
    };
    let first = match app.issuer.store().tokens(&live, Page::first(true, 1)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "tokens of an agreement are not readable");
            return false;
        }
    };
    if first.is_empty() {
        return true;
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

/// The agreements of all policies under which a token may have been issued that is live.
async fn known<S: Store>(app: &App<S>, now: UnixMillis) -> Result<BTreeSet<String>, StoreError> {
    let mut ids = BTreeSet::new();
    let mut version = app.issuer.store().policy(None).await?;
    while let Some(stored) = version {
        let policy: Value = serde_json::from_str(&stored.version.text).unwrap_or_default();
        let agreements = policy.get("agreements").and_then(Value::as_array).into_iter().flatten();
        let named = agreements.filter_map(|one| one.get("id")?.as_str());
        ids.extend(named.map(str::to_owned));
        let is_old = (1..now.0.saturating_sub(LONGEST_LIFE_MS)).contains(&stored.served_since_ms);
        let before = stored.number.checked_sub(1).filter(|number| *number > 0 && !is_old);
        version = match before {
            Some(before) => app.issuer.store().policy(Some(before)).await?,
            None => None,
        };
    }
    Ok(ids)
}
