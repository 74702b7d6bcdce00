//! Verdicts in JSON, for the TypeScript side.

use edgepass_jose::json::JsonObject;
use edgepass_status_list::StatusType;
use edgepass_verify::documents::refused::Cause;
use edgepass_verify::refusal::Refusal;
use edgepass_verify::{Verdict, VerifyError};
use edgepass_web::event;
use serde::Serialize;

/// The name of a status in `Status` of verdict.ts.
fn word(status: StatusType) -> &'static str {
    match status {
        StatusType::Valid => "valid",
        StatusType::Invalid => "revoked",
        StatusType::Suspended => "suspended",
        StatusType::Unknown(_) => "unknown",
    }
}

/// A verdict as verdict.ts reads it.
#[derive(Serialize)]
struct Told<'v> {
    accepted: bool,
    code: Option<&'static str>,
    step: Option<&'static str>,
    message: Option<String>,
    claims: Option<JsonObject>,
    status: Option<ToldStatus>,
    stale: bool,
    cause: Option<ToldCause>,
    refusal: Option<ToldRefusal<'v>>,
    /// The claims of a refused token with a valid signature.
    signed: Option<JsonObject>,
}

#[derive(Serialize)]
struct ToldStatus {
    value: &'static str,
    confirmed_at: u64,
    stale: bool,
}

#[derive(Serialize)]
struct ToldCause {
    document: &'static str,
    reason: &'static str,
    status: Option<u16>,
}

/// The response for a refused token.
#[derive(Serialize)]
struct ToldRefusal<'v> {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: &'v str,
}

/// A verdict in JSON, with the response for a refused token.
pub(crate) fn json(verdict: &Verdict) -> String {
    let error = verdict.error();
    let refusal = error.map(|error| Refusal::of(error, &verdict.challenge));
    let told = Told {
        accepted: verdict.accepted(),
        code: error.map(VerifyError::code),
        step: error.map(|error| error.step().name()),
        message: error.map(ToString::to_string),
        claims: verdict.outcome.as_ref().ok().map(|claims| claims.members()),
        status: verdict.status.map(|report| ToldStatus {
            value: word(report.status),
            confirmed_at: report.confirmed_at.0,
            stale: report.stale,
        }),
        stale: verdict.stale,
        cause: verdict.cause.map(|Cause { document, refused }| ToldCause {
            document: document.name(),
            reason: refused.name(),
            status: event::status(refused),
        }),
        refusal: refusal.as_ref().map(|refusal| ToldRefusal {
            status: refusal.status,
            headers: refusal.headers(),
            body: &refusal.body,
        }),
        signed: verdict
            .signed_claims()
            .filter(|_| !verdict.accepted())
            .map(|claims| claims.members()),
    };
    // Nothing in it can fail to be written.
    serde_json::to_string(&told).unwrap_or_default()
}
