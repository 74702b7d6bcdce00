//! Reading how tokens are used.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use edgepass_issuer::storage::{StoreError, TokenRecord, UsageStore};
use edgepass_issuer::usage::{
    Kinds, Reporter, TokenUse, UsageBy, UsageFilter, UsageSum, UseDetail, complete_since_ms,
    expected_reporters,
};
use edgepass_issuer::{IssuerPolicy, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::records::{QUERY, unreadable};
use super::{Head, READ, authorize, respond};
use crate::App;

/// The most sums of an answer.
pub const MAX_SUMS: u32 = 10_000;

/// Which sums are asked for: see [`UsageFilter`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// What sums are made by. Default: the role.
    #[serde(default = "by_role")]
    pub by: UsageBy,
    /// Only of this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Only of this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Only of routes that need this scope token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Only from this day on, in days since 1970-01-01.
    #[serde(default)]
    pub since_day: u64,
}

fn by_role() -> UsageBy {
    UsageBy::Role
}

/// `GET /admin/v1/usage`: `{"sums", "reporters"}`.
pub(crate) async fn get<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        sums(app.issuer.store().as_ref(), query).await.map_err(unreadable)
    };
    respond(found.await)
}

/// The sums that a query asks for, and the reporters, as JSON.
///
/// # Errors
///
/// [`StoreError`].
pub async fn sums(store: &impl UsageStore, query: UsageQuery) -> Result<Value, StoreError> {
    let UsageQuery { by, role, client_id, scope, since_day } = query;
    let filter = UsageFilter { role, client_id, scope, since_day };
    let mut sums = store.usage_sums(&filter, by, MAX_SUMS).await?;
    if by == UsageBy::Scope {
        sums = by_scope(&sums);
    }
    let one = |sum: &UsageSum| {
        let UsageSum { name, accepted, refused, first_day, last_day } = sum;
        json!({
            "name": name, "accepted": accepted, "refused": refused, "first_day": first_day,
            "last_day": last_day,
        })
    };
    let reporters = store.reporters().await?;
    Ok(json!({
        "sums": sums.iter().map(one).collect::<Vec<_>>(),
        "reporters": reporters.iter().map(reporter).collect::<Vec<_>>(),
    }))
}

/// Sums by scope token, from those by several at once. A request counts for each scope that its route needs.
fn by_scope(sums: &[UsageSum]) -> Vec<UsageSum> {
    let mut each: BTreeMap<&str, UsageSum> = BTreeMap::new();
    for sum in sums {
        for name in sum.name.split(' ') {
            let own = each.entry(name).or_insert_with(|| UsageSum {
                name: name.to_owned(),
                accepted: 0,
                refused: 0,
                ..sum.clone()
            });
            own.accepted = own.accepted.saturating_add(sum.accepted);
            own.refused = own.refused.saturating_add(sum.refused);
            own.first_day = own.first_day.min(sum.first_day);
            own.last_day = own.last_day.max(sum.last_day);
        }
    }
    each.into_values().collect()
}

/// Numbers of requests by kind. Those of all kinds for which there was no room have the name ``.
fn detail(detail: &UseDetail) -> Value {
    let of = |kinds: &Kinds| {
        let others = (kinds.others > 0).then(|| (String::new(), kinds.others));
        let counts = kinds.counts.iter().map(|(name, seen)| (name.clone(), seen.count));
        json!(counts.chain(others).collect::<BTreeMap<String, u64>>())
    };
    json!({
        "codes": of(&detail.codes),
        "countries": of(&detail.countries),
        "asns": of(&detail.asns),
        "colos": of(&detail.colos),
        "tls": of(&detail.tls),
        "addresses": of(&detail.addresses),
        "routes": of(&detail.routes),
        "scopes": of(&detail.scopes),
    })
}

fn reporter(reporter: &Reporter) -> Value {
    json!({
        "client_id": reporter.client_id,
        "audiences": reporter.audiences,
        "first_ms": reporter.first_ms,
        "last_ms": reporter.last_ms,
        "reports": reporter.reports,
        "missing": reporter.missing,
        "lost": reporter.lost,
        "folded": reporter.folded,
        "complete_since_ms": reporter.complete_since_ms(),
    })
}

/// What is known of the use of tokens.
#[derive(Default)]
pub struct Uses {
    tokens: HashMap<u64, TokenUse>,
    /// Since when no report is known to be missing, in milliseconds, by audience.
    complete_ms: HashMap<String, Option<u64>>,
}

impl Uses {
    /// Of these tokens, at a time in milliseconds.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn of(
        store: &impl UsageStore,
        policy: &IssuerPolicy,
        records: &[TokenRecord],
        now_ms: u64,
    ) -> Result<Self, StoreError> {
        let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
        let (tokens, reporters) = (store.token_uses(&seqs).await?, store.reporters().await?);
        let mut complete_ms = HashMap::new();
        for TokenRecord { facts, .. } in records {
            complete_ms.entry(facts.audience.clone()).or_insert_with(|| {
                let expected = expected_reporters(policy, &facts.audience);
                complete_since_ms(&reporters, &facts.audience, &expected, now_ms)
            });
        }
        Ok(Self { tokens, complete_ms })
    }

    /// The use of a token, as members of its record. `uses` and `refusals` are null if nothing is known: the
    /// token was never reported, but not every report since its issue is known to have come.
    pub(super) fn members(&self, record: &TokenRecord) -> Value {
        let complete_ms = self.complete_ms.get(&record.facts.audience).copied().flatten();
        let issued_ms = record.facts.issued_at.saturating_mul(1000);
        let is_complete = complete_ms.is_some_and(|since| since <= issued_ms);
        let token_use = self.tokens.get(&record.seq);
        let known = token_use.is_some() || is_complete;
        let seconds = |ms: Option<u64>| ms.map(|ms| ms / 1000);
        let of = |time: fn(&TokenUse) -> Option<u64>| seconds(token_use.and_then(time));
        json!({
            "uses": known.then(|| token_use.map_or(0, |it| it.accepted)),
            "refusals": known.then(|| token_use.map_or(0, |it| it.refused)),
            "first_used": of(|it| it.first_ms),
            "last_used": of(|it| it.last_ms),
            "last_refused": of(|it| it.last_refused_ms),
            "use_complete_since": seconds(complete_ms),
            "use": token_use.map(|it| detail(&it.detail)),
        })
    }
}
