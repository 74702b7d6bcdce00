//! Verdicts in JSON, for the TypeScript side.

use edgepass_status_list::StatusType;
use edgepass_verify::Verdict;
use edgepass_verify::documents::refused::Cause;
use edgepass_verify::refusal::Refusal;
use edgepass_web::event;
use serde_json::json;

/// The name of a status in `Status` of verdict.ts.
fn word(status: StatusType) -> &'static str {
    match status {
        StatusType::Valid => "valid",
        StatusType::Invalid => "revoked",
        StatusType::Suspended => "suspended",
        StatusType::Unknown(_) => "unknown",
    }
}

/// A verdict in JSON, with the response for a refused token.
pub(crate) fn json(verdict: &Verdict) -> String {
    let status = verdict.status.map(|report| {
        json!({
            "value": word(report.status),
            "confirmed_at": report.confirmed_at.0,
            "stale": report.stale,
        })
    });
    let refusal = verdict.error().map(|error| {
        let refusal = Refusal::of(error, &verdict.challenge);
        let headers: Vec<[String; 2]> =
            refusal.headers().into_iter().map(|(name, value)| [name.to_owned(), value]).collect();
        json!({ "status": refusal.status, "headers": headers, "body": refusal.body })
    });
    json!({
        "accepted": verdict.accepted(),
        "code": verdict.error().map(|error| error.code()),
        "step": verdict.error().map(|error| error.step().name()),
        "message": verdict.error().map(ToString::to_string),
        "claims": verdict.outcome.as_ref().ok().map(|claims| claims.members()),
        "status": status,
        "stale": verdict.stale,
        "cause": verdict.cause.map(|Cause { document, refused }| json!({
            "document": document.name(),
            "reason": refused.name(),
            "status": event::status(refused),
        })),
        "refusal": refusal,
    })
    .to_string()
}
