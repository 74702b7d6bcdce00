//! Leaked tokens: whoever holds a token may have it revoked.

use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::issue::Issuer;
use crate::new_act::NewAct;
use crate::selection::{Selection, StatusChange};
use crate::status_act::{ActError, perform};
use crate::storage::{ActStore, TokenStore};

/// Who reported a leaked token, for the audit trail.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeakReport {
    /// How the report came: `possession`, `github` or `gitlab`.
    pub channel: String,
    /// The address of the reporter.
    pub address: String,
    /// Where the token was found, as the reporter says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The longest URL that is recorded, in bytes.
const MAX_URL_BYTES: usize = 2048;

impl LeakReport {
    /// A report. A URL that is not http or https, is too long, or has other characters than visible
    /// ASCII is left out.
    pub fn new(channel: &str, address: String, url: Option<&str>) -> Self {
        let url = url.filter(|url| is_web(url)).map(str::to_owned);
        Self { channel: channel.to_owned(), address, url }
    }
}

/// Whether a text is recorded as the URL of a report.
pub fn is_web(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.len() <= MAX_URL_BYTES
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Revokes a token that somebody found. Only a token that this issuer signed reaches the storage: the
/// signature is checked first. `false`: the text is none, or the token is revoked or has expired.
///
/// # Errors
///
/// [`ActError`].
pub async fn revoke<S: TokenStore + ActStore>(
    issuer: &Issuer<S>,
    token: &str,
    report: LeakReport,
    now: UnixMillis,
) -> Result<bool, ActError> {
    let Some((_, record)) = issuer.signed_token(token, now).await? else { return Ok(false) };
    if record.status == StatusType::Invalid {
        return Ok(false);
    }
    let act = NewAct {
        change: StatusChange::Revoke,
        selection: Selection::JwtIds(vec![record.facts.jwt_id]),
        reason: "leak".to_owned(),
        actor: format!("leak:{}", report.channel),
        policy: issuer.policy().number(),
        at: now,
        report: Some(report),
    };
    Ok(perform(&**issuer.store(), &act).await?.is_some())
}
