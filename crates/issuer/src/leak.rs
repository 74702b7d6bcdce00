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
    /// ASCII is left out. Of others user, query and fragment are: they may hold secrets, and the trail is kept.
    pub fn new(channel: &str, address: String, url: Option<&str>) -> Self {
        let url = url.filter(|url| is_web(url)).map(place);
        Self { channel: channel.to_owned(), address, url }
    }
}

/// A URL without user, query and fragment.
fn place(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_secrets() {
        for (url, expected) in [
            ("https://git.example/a/b#L7", Some("https://git.example/a/b")),
            ("https://bob:pass@git.example/x?t=eyJ", Some("https://git.example/x")),
            ("http://git.example:8080?t=eyJ", Some("http://git.example:8080")),
            ("https://a@b@git.example", Some("https://git.example")),
            ("ftp://git.example/", None),
        ] {
            let report = LeakReport::new("possession", String::new(), Some(url));
            assert_eq!(report.url.as_deref(), expected, "{url}");
        }
    }
}
