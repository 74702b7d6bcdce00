//! The four bounds with their terms, and the state of the keys.

use std::time::Duration;

use edgepass_issuer::signing_key::KeyState;
use edgepass_issuer::{Config, Store};
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{DEFAULT_REFRESH_INTERVAL, RefreshInterval};

use super::Report;
use crate::{host, output};

/// Reports the four bounds: deadline, outage bound, lying cache, withdrawn key. Stops after a bound
/// that fails because its setting is missing.
pub(super) fn look(config: &Config, report: &mut Report) {
    let terms = &config.freshness;
    let Some(deadline) = config.revocation.deadline() else {
        report.bad("deadline", "no deadline is set; set one in [revocation]");
        return;
    };
    let interval = match terms.refresh_interval {
        None => DEFAULT_REFRESH_INTERVAL,
        Some(RefreshInterval::Every(interval)) => interval,
        Some(RefreshInterval::Ttl) => {
            Duration::from_secs(edgepass_issuer::publish::edition::LIST_TTL)
        }
    };
    report.good(
        "deadline",
        format!(
            "{} >= {} publish_delay + {} shared_max_age + {} refresh_interval + {} fetch_timeout \
             = {}",
            DurationText(deadline),
            DurationText(terms.publish_delay()),
            DurationText(terms.shared_max_age()),
            DurationText(interval),
            DurationText(terms.fetch_timeout()),
            DurationText(terms.sum(interval)),
        ),
    );
    if let Some(bound) = config.revocation.outage_bound() {
        let stale = bound.saturating_sub(deadline);
        let (bound, deadline, stale) =
            (DurationText(bound), DurationText(deadline), DurationText(stale));
        let says = format!("{bound} = {deadline} deadline + {stale} stale_if_error");
        report.good("outage bound", says);
    }
    if let Some(bound) = config.revocation.signed_bound().filter(|_| config.status.head) {
        let says = |what| {
            format!(
                "verifiers accept a replayed old {what} for up to {}, if the clocks differ by at most {}; see the status head",
                DurationText(bound),
                DurationText(config.revocation.clock_skew()),
            )
        };
        report.good("lying cache", says("list"));
        report.good("withdrawn key", says("JWK Set"));
        return;
    }
    let Some(age) = config.status.max_age else {
        report.bad("lying cache", "verifiers accept an old list until its exp; set max_list_age");
        return;
    };
    let text = |seconds| DurationText(Duration::from_secs(seconds));
    let (age, renewed) = (text(age), text(config.status.renew_after()));
    report.good(
        "lying cache",
        format!("verifiers accept a replayed old list for up to {age} (max_list_age); a new edition is signed every {renewed}"),
    );
    report.good(
        "withdrawn key",
        format!(
            "verifiers accept a replayed old JWK Set for up to {age}, until its exp; this relies on TLS"
        ),
    );
}

/// Reports a policy that `serve` does not use.
pub(super) async fn look_at_policy<S: Store>(
    config: &Config,
    store: &S,
    report: &mut Report,
) -> anyhow::Result<()> {
    let running = store.policy(None).await?;
    let is_used = running.is_none_or(|running| running.version == config.policy.version());
    if is_used {
        report.good("policy", "as in the configuration");
    } else {
        report.warn(
            "policy",
            "`edgepass serve` used another one last; see `edgepass policy diff`, then `edgepass policy apply`",
        );
    }
    Ok(())
}

/// Reports the key overlap, the standby key, the rotation, and a compromised key still published.
pub(super) async fn look_at_keys<S: Store>(
    config: &Config,
    store: &S,
    report: &mut Report,
) -> anyhow::Result<()> {
    let text = |seconds| DurationText(Duration::from_secs(seconds));
    let (schedule, now) = (config.keys, host::now().numeric_date().seconds());
    let lifetime = config.policy.longest_lifetime();
    report.good(
        "key overlap",
        format!(
            "{} >= {} longest lifetime of a token + 10m",
            text(schedule.overlap),
            text(lifetime)
        ),
    );
    let keys = store.keys().await?;
    match keys.in_state(KeyState::Standby) {
        None => {
            report.bad("standby key", "there is none; start `edgepass serve`, which creates one")
        }
        Some(standby) => match standby.published_at {
            None => report.warn(
                "standby key",
                "not published yet; start `edgepass serve`, or wait if it runs",
            ),
            Some(at) if schedule.settles_in(standby, now) > 0 => {
                report.warn(
                    "standby key",
                    format!("published {}, too recently to sign yet", output::date(at)),
                );
            }
            Some(at) => report.good("standby key", format!("published {}", output::date(at))),
        },
    }
    let due = keys.in_state(KeyState::Signing).and_then(|key| key.signs_since);
    match due.map(|since| since.saturating_add(schedule.rotation)) {
        Some(due) if due < now => {
            report.warn(
                "rotation",
                format!("was due {}; is `edgepass serve` running?", output::date(due)),
            );
        }
        Some(due) => report.good("rotation", format!("due {}", output::date(due))),
        None => report.bad("signing key", "there is none; run `edgepass init`"),
    }
    if keys.in_state(KeyState::Compromised).is_some() {
        report
            .bad("compromised key", "still published; start `edgepass serve`, which withdraws it");
    }
    Ok(())
}
