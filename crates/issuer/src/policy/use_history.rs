//! Looks up, for a review, how the entries of a policy were used.

use std::collections::BTreeMap;

use serde_json::Value;

use super::use_review::{OldPolicy, Review, RoleUse, UseFinding, review_use};
use super::version::StoredPolicy;
use super::{IssuerPolicy, operator_scopes};
use crate::client::Authentication;
use crate::storage::{Page, Store, StoreError, TokenFilter};
use crate::usage::{UsageBy, UsageFilter, complete_since_ms, expected_reporters};

const DAY: u64 = 24 * 60 * 60;
/// Sums of one role, and its newest tokens that are looked at.
const MOST: u32 = 1_000;

/// Looks at a policy: what it allows and nobody used, and the roles of which nothing is said, since their use is not
/// completely known.
///
/// # Errors
///
/// [`StoreError`].
pub async fn review(
    policy: &IssuerPolicy,
    store: &impl Store,
    how: &Review,
) -> Result<(Vec<UseFinding>, Vec<String>), StoreError> {
    let begin = how.now.saturating_sub(how.period);
    let (old, secrets) = history(policy, store, begin, how.now).await?;
    let (uses, unknown) = uses(policy, store, (begin, how.now)).await?;
    Ok((review_use(policy, &old, &uses, &secrets, how), unknown))
}

/// The policy at the begin, and since when, in seconds, each client has had its newest secret.
async fn history(
    policy: &IssuerPolicy,
    store: &impl Store,
    begin: u64,
    now: u64,
) -> Result<(OldPolicy, BTreeMap<String, u64>), StoreError> {
    let mut secrets = BTreeMap::new();
    for client in &policy.clients {
        if let Authentication::Secrets(dated) = &client.authentication {
            let hashes: Vec<String> = dated.iter().map(|secret| secret.hash.to_string()).collect();
            secrets.insert(client.id.clone(), (hashes, now));
        }
    }
    let mut old = None;
    let newest = store.policy(None).await?.map_or(0, |newest| newest.number);
    // A number may be missing: SQLite skipped some in the past.
    for number in (1..=newest).rev() {
        let found = store.policy(Some(number)).await?;
        if let Some(StoredPolicy { served_since_ms, version: stored, .. }) = found
            && served_since_ms > 0
        {
            let since = served_since_ms / 1000;
            let held: Value = serde_json::from_str(&stored.text).unwrap_or_default();
            for (hashes, oldest) in secrets.values_mut() {
                if hashes.iter().all(|hash| stored.text.contains(hash.as_str())) {
                    *oldest = since.min(*oldest);
                }
            }
            if since <= begin && old.is_none() {
                old = Some(OldPolicy::of(&held));
            }
        }
    }
    let secrets = secrets.into_iter().map(|(id, (_, since))| (id, since)).collect();
    Ok((old.unwrap_or_default(), secrets))
}

/// The use of each role, and the roles whose use is not completely known.
async fn uses(
    policy: &IssuerPolicy,
    store: &impl Store,
    (begin, now): (u64, u64),
) -> Result<(BTreeMap<String, RoleUse>, Vec<String>), StoreError> {
    let reporters = store.reporters().await?;
    let (mut uses, mut unknown) = (BTreeMap::new(), Vec::new());
    for role in &policy.roles {
        if role.scope.iter().any(operator_scopes::is_one) {
            continue;
        }
        let is_complete = role.audiences.iter().all(|audience| {
            let expected = expected_reporters(policy, audience);
            let since =
                complete_since_ms(&reporters, audience, &expected, now.saturating_mul(1000));
            since.is_some_and(|since| since / 1000 <= begin)
        });
        if !is_complete {
            unknown.push(role.name.clone());
            continue;
        }
        let filter = UsageFilter {
            role: Some(role.name.clone()),
            client_id: None,
            scope: None,
            since_day: begin.checked_div(DAY).unwrap_or_default(),
        };
        let scopes = store.usage_sums(&filter, UsageBy::Scope, MOST).await?;
        let clients = store.usage_sums(&filter, UsageBy::Client, MOST).await?;
        // Sums that were cut, or whose routes are not known, say nothing about what was not used.
        let routes = store.usage_sums(&filter, UsageBy::Route, MOST).await?;
        let is_cut = [&scopes, &clients, &routes].iter().any(|sums| sums.len() >= MOST as usize);
        if is_cut || routes.iter().any(|sum| sum.name.is_empty() && sum.accepted > 0) {
            unknown.push(role.name.clone());
            continue;
        }
        let of_role = TokenFilter { role: Some(role.name.clone()), ..TokenFilter::default() };
        let records = store.tokens(&of_role, Page::first(true, MOST)).await?;
        let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
        let mut used = store.token_uses(&seqs).await?;
        let words =
            scopes.iter().filter(|sum| sum.accepted > 0).flat_map(|sum| sum.name.split(' '));
        let by_client = clients.iter().filter(|sum| sum.accepted > 0);
        uses.insert(
            role.name.clone(),
            RoleUse {
                accepted: clients.iter().map(|sum| sum.accepted).sum(),
                scopes: words.map(str::to_owned).collect(),
                clients: by_client.map(|sum| (sum.name.clone(), sum.accepted)).collect(),
                tokens: records
                    .into_iter()
                    .map(|record| {
                        let own = used.remove(&record.seq);
                        (record, own)
                    })
                    .collect(),
            },
        );
    }
    Ok((uses, unknown))
}
