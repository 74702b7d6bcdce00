//! Acts on what rules about misuse find.

use std::time::Duration;

use edgepass_issuer::Store;
use edgepass_issuer::misuse::{Finding, Outcome};
use edgepass_issuer::status_act::ActError;

use crate::{App, error_chain};

/// Pause between two looks at acts that were interrupted.
const PAUSE: Duration = Duration::from_secs(5);
/// Findings of one look.
const STEP: u32 = 100;

/// Carries out the act of a finding, and logs the finding. One at a time, as it is stored by then: another process
/// may have acted, and a person may have undone it.
pub(crate) async fn carry_out<S: Store>(app: &App<S>, id: u64) {
    let _one = app.acting.lock().await;
    let finding: Finding = match app.issuer.store().finding(id).await {
        Ok(Some(finding)) => finding,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), id, "a finding is not readable");
            return;
        }
    };
    if finding.outcome.is_act() && finding.outcome != Outcome::Pending {
        // Another task has acted, and has told of it.
        return;
    }
    let rule = finding.found.rule.as_str();
    let act = finding.act((app.host.now)()).filter(|_| finding.outcome == Outcome::Pending);
    let outcome = match &act {
        None => finding.outcome,
        Some(act) => match app.act(act).await {
            Ok(done) if done.recorded.is_some_and(|recorded| recorded.count > 0) => Outcome::Done,
            Ok(_) => Outcome::Unchanged,
            Err(ActError::NoSuspension(_)) => Outcome::Failed,
            Err(error) => {
                let error = error_chain(&error);
                tracing::error!(error, id, rule, "misuse was found, but not acted on yet");
                return;
            }
        },
    };
    if act.is_some()
        && let Err(error) = app.issuer.store().set_outcome(id, (Outcome::Pending, outcome)).await
    {
        tracing::error!(error = %error_chain(&error), id, rule, "an outcome is not recorded");
    }
    app.metrics.found(rule, outcome);
    tracing::warn!(id, rule, outcome = outcome.name(), "misuse was found");
}

/// Carries out acts that were interrupted, until the task is dropped.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let open = match app.issuer.store().open_findings(None, STEP).await {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "findings are not readable");
                continue;
            }
        };
        let now = (app.host.now)().0;
        for finding in open {
            // Whoever found it is about to act.
            if u128::from(now.saturating_sub(finding.at_ms)) >= PAUSE.as_millis() {
                carry_out(app, finding.id).await;
            }
        }
    }
}
