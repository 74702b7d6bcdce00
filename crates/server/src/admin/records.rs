//! Reading tokens and the audit trail, a page at a time.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::storage::{Page, StoreError, TokenFilter, TokenRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::usage::Uses;
use super::view::TokenView;
use super::{AUDIT, Head, READ, authorize, respond};
use crate::oauth::error::OauthError;
use crate::{App, error_chain};

/// The most records of one page.
pub const MAX_PAGE: u32 = 1000;
/// The number of records of a page if the request does not say.
const DEFAULT_PAGE: u32 = 100;

/// Which records are asked for: see [`Page`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageQuery {
    /// Only records after this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only records before this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Whether the first positions come first. Default: the last ones do.
    pub oldest_first: bool,
    /// The largest number of records, at most [`MAX_PAGE`]. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// The query for a page.
    pub fn of(page: Page) -> Self {
        Self {
            after: Some(page.after),
            before: Some(page.before),
            oldest_first: !page.newest_first,
            limit: Some(page.most),
        }
    }

    /// The page.
    pub(super) fn page(&self) -> Page {
        page(self.after, self.before, self.oldest_first, self.limit)
    }
}

/// Which tokens are asked for: see [`TokenFilter`] and [`Page`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenQuery {
    /// Only tokens of this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Only tokens of this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Only tokens of this subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Only the token with this `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Only tokens that are used under this agreement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    /// Only tokens that were issued under this request for access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Only tokens issued at this time or later, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_since: Option<u64>,
    /// Only tokens that are neither expired, revoked nor suspended.
    pub live: bool,
    /// Only tokens that expire at this time or earlier, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_by: Option<u64>,
    /// Only records after this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only records before this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Whether the first positions come first. Default: the last ones do.
    pub oldest_first: bool,
    /// The largest number of records, at most [`MAX_PAGE`]. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl TokenQuery {
    /// The same conditions for another page.
    #[must_use]
    pub fn of(self, page: Page) -> Self {
        Self {
            after: Some(page.after),
            before: Some(page.before),
            oldest_first: !page.newest_first,
            limit: Some(page.most),
            ..self
        }
    }

    /// The conditions and the page, at a time in seconds.
    pub fn into_parts(self, now: u64) -> (TokenFilter, Page) {
        let page = page(self.after, self.before, self.oldest_first, self.limit);
        let filter = TokenFilter {
            role: self.role,
            client_id: self.client_id,
            subject: self.sub,
            jwt_id: self.jti,
            issued_since: self.issued_since,
            live_at: self.live.then_some(now),
            expires_by: self.expires_by,
            agreement: self.agreement,
            grant: self.grant,
        };
        (filter, page)
    }
}

/// Which entries of the audit trail are asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Only entries recorded at this time or later, in milliseconds.
    pub since_ms: u64,
    /// Only entries after this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only entries before this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Whether the first positions come first. Default: the last ones do.
    pub oldest_first: bool,
    /// The largest number of entries, at most [`MAX_PAGE`]. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl AuditQuery {
    /// The entries of a page.
    pub fn of(since_ms: u64, page: Page) -> Self {
        Self {
            since_ms,
            after: Some(page.after),
            before: Some(page.before),
            oldest_first: !page.newest_first,
            limit: Some(page.most),
        }
    }
}

pub(super) fn page(
    after: Option<u64>,
    before: Option<u64>,
    oldest_first: bool,
    limit: Option<u32>,
) -> Page {
    Page {
        after: after.unwrap_or_default(),
        before: before.unwrap_or(u64::MAX),
        newest_first: !oldest_first,
        most: limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE),
    }
}

/// `GET /admin/v1/tokens`: `{"records": [{"seq", "token"}]}`.
pub(crate) async fn tokens<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<TokenQuery>, QueryRejection>,
) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let now = (app.host.now)().numeric_date().seconds();
        let (filter, page) = query.into_parts(now);
        let store = app.issuer.store();
        let keys = store.keys().await.map_err(unreadable)?.keys;
        let view = TokenView::new(&keys, now);
        let records = store.tokens(&filter, page).await.map_err(unreadable)?;
        let uses = Uses::of(store.as_ref(), &app.issuer.policy(), &records, (app.host.now)().0)
            .await
            .map_err(unreadable)?;
        let one =
            |record: &TokenRecord| json!({ "seq": record.seq, "token": view.token(record, &uses) });
        Ok(json!({ "records": records.iter().map(one).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

/// `GET /admin/v1/audit`: `{"records": [{"seq", "entry"}]}`.
pub(crate) async fn audit<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Response {
    let found = async {
        let actor = authorize(&app, &head, AUDIT).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let page = page(query.after, query.before, query.oldest_first, query.limit);
        let entries = app.issuer.store().audit(query.since_ms, page).await.map_err(unreadable)?;
        record_read(&app, actor, &entries).await?;
        let one = |(seq, entry): (u64, AuditEntry)| json!({ "seq": seq, "entry": entry });
        Ok(json!({ "records": entries.into_iter().map(one).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

/// Records that an operator reads these entries, before the response shows them. A read of entries that
/// record nothing but reads is not recorded: else who follows the trail would make it longer.
async fn record_read<S: Store>(
    app: &App<S>,
    actor: String,
    entries: &[(u64, AuditEntry)],
) -> Result<(), OauthError> {
    let positions = || entries.iter().map(|(seq, _)| *seq);
    let is_read = |(_, entry): &(u64, AuditEntry)| matches!(entry.act, Act::AuditRead { .. });
    let (Some(first), Some(last)) = (positions().min(), positions().max()) else { return Ok(()) };
    if entries.iter().all(is_read) {
        return Ok(());
    }
    record(app, actor, Act::AuditRead { first, last }).await
}

/// Records what an operator does.
pub(super) async fn record<S: Store>(
    app: &App<S>,
    actor: String,
    act: Act,
) -> Result<(), OauthError> {
    let policy = Some(app.issuer.policy().number());
    let entry = AuditEntry { at_ms: (app.host.now)().0, actor, policy, act };
    app.issuer.store().record(&entry).await.map_err(|error| {
        tracing::error!(error = %error_chain(&error), "a read of the audit trail not recorded");
        OauthError::Unavailable("the read cannot be recorded now")
    })
}

pub(super) const QUERY: OauthError = OauthError::InvalidRequest(
    "a parameter of the query is unknown, repeated or malformed: see /openapi.json",
);

pub(crate) fn unreadable(error: StoreError) -> OauthError {
    tracing::error!(error = %error_chain(&error), "records not readable");
    OauthError::Unavailable("no record can be read now")
}
