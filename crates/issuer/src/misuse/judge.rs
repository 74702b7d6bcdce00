//! What rules find in the use of a token.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Found, MoreThan, Rule, Rules, When};
use crate::usage::{Kinds, MAX_PLACES, RECENT_STEP_MS, TokenUse};

/// What is recorded about a token, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'t> {
    /// `jti`.
    pub jwt_id: &'t str,
    /// The role's name.
    pub role: &'t str,
    /// The claim `client_id`.
    pub client_id: &'t str,
    /// The claim `iat`, in milliseconds.
    pub issued_ms: u64,
    /// The claim `exp`, in milliseconds.
    pub expires_ms: u64,
}

/// What was known of a token's use before a report, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// [`TokenUse::first_ms`].
    pub first_ms: Option<u64>,
    /// [`UseDetail::fastest`](crate::usage::UseDetail::fastest).
    pub fastest: Option<(u32, u32)>,
}

/// Applies the rules to the use of a token that has not expired: `before` is what was known, `new` what reports
/// add, and `after` both.
pub fn judge(
    rules: &Rules<'_>,
    facts: &Facts<'_>,
    (before, new, after): (Before, &TokenUse, &TokenUse),
) -> Vec<Found> {
    // Verifiers refuse what has expired, and nothing would be left to act on.
    if facts.expires_ms <= rules.now_ms {
        return Vec::new();
    }
    let is_for =
        |rule: &&Rule| rule.roles.is_empty() || rule.roles.iter().any(|role| role == facts.role);
    let found = rules.rules.iter().filter(is_for).filter_map(|rule| {
        let evidence = evidence(rules, &rule.when, facts, (before, new, after))?;
        Some(Found {
            rule: rule.name.clone(),
            subject: facts.jwt_id.to_owned(),
            role: facts.role.to_owned(),
            client_id: facts.client_id.to_owned(),
            action: rule.action,
            dry_run: rule.dry_run,
            evidence,
        })
    });
    found.collect()
}

fn evidence(
    rules: &Rules<'_>,
    when: &When,
    facts: &Facts<'_>,
    (before, new, after): (Before, &TokenUse, &TokenUse),
) -> Option<String> {
    match when {
        When::Countries(limit) => kinds(limit, &after.detail.countries, "countries"),
        When::Networks(limit) => kinds(limit, &after.detail.asns, "networks"),
        When::Travel { faster_than } => {
            let (speed, way) = after.detail.fastest?;
            // Known before: it was judged then.
            let was = before.fastest.is_some_and(|(before, _)| before >= *faster_than);
            (speed >= *faster_than && !was)
                .then(|| format!("used {way} km apart, at {speed} km/h or more"))
        }
        When::Refusals { more_than, within, codes } => {
            let last = new.last_refused_ms?;
            let first = last.saturating_sub(millis(within.0)) / RECENT_STEP_MS;
            let end = last / RECENT_STEP_MS;
            let mut sum = 0_u64;
            for (code, steps) in &after.detail.recent {
                if !codes.is_empty() && !codes.contains(code) {
                    continue;
                }
                for (step, count) in steps {
                    if (first..=end).contains(step) {
                        sum = sum.saturating_add(*count);
                    }
                }
            }
            (sum > *more_than).then(|| format!("refused {sum} times within {within}"))
        }
        When::RevokedElsewhere {} => {
            new.detail.codes.counts.get("token_revoked")?;
            let accepted = &after.detail.accepted_from;
            // Of a token that was used from very many places, not all are known.
            if accepted.is_empty() || accepted.len() >= MAX_PLACES {
                return None;
            }
            let elsewhere = |refused: &BTreeSet<String>| {
                refused.iter().find(|place| !accepted.contains(*place)).cloned()
            };
            let place = elsewhere(&new.detail.revoked_from)?;
            Some(format!("used although revoked, from {place}, from where it was never accepted"))
        }
        When::FirstUse { after: time } => {
            let first = new.first_ms.filter(|_| before.first_ms.is_none())?;
            let passed = first.saturating_sub(facts.issued_ms);
            (passed >= millis(time.0))
                .then(|| format!("used first {} s after it was issued", passed / 1000))
        }
        When::RemovedClient {} => {
            let is_known = rules.clients.contains(&facts.client_id);
            (new.accepted > 0 && !is_known).then(|| "its client is not in the policy".to_owned())
        }
        // Of a role, and judged elsewhere.
        When::Rate { .. } => None,
    }
}

/// Kinds that were seen within the time before the last of them.
fn kinds(limit: &MoreThan, seen: &Kinds, what: &str) -> Option<String> {
    let last = seen.counts.values().map(|one| one.last_ms).max()?;
    let since = last.saturating_sub(millis(limit.within.0));
    let names: Vec<&str> = seen
        .counts
        .iter()
        .filter(|(_, one)| one.last_ms >= since)
        .map(|(name, _)| name.as_str())
        .collect();
    let count = u64::try_from(names.len()).unwrap_or(u64::MAX);
    (count > limit.more_than)
        .then(|| format!("used from {count} {what} within {}: {}", limit.within, names.join(", ")))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Action, Brakes, Outcome, first_outcome};
    use super::*;
    use crate::usage::{Known, Reported, Sums, add, judge_rate};

    const MINUTE: u64 = 60_000;
    const START: u64 = 1_800_000_000_000;

    /// Judges reports one after the other by one rule. `uses` are minutes, codes and places.
    fn found(when: serde_json::Value, uses: &[(u64, &str, serde_json::Value)]) -> Vec<String> {
        let rule = json!({"name": "r", "when": when, "action": "alert"});
        let rule: Rule = serde_json::from_value(rule).unwrap();
        assert_eq!(rule.mistake(), None);
        let known = Known {
            seq: 1,
            issued_at: START / 1000,
            expiration: START / 1000 + 365 * 24 * 60 * 60,
            role: "reader".into(),
            client_id: "c".into(),
            audience: "a".into(),
            scope: "s".into(),
        };
        let brakes = Brakes::default();
        let rules =
            Rules { rules: &[rule], brakes: &brakes, clients: &["d"], policy: 1, now_ms: START };
        let mut uses_by_token = std::collections::HashMap::new();
        let mut all = Vec::new();
        for (number, (minute, code, place)) in uses.iter().enumerate() {
            let at = START + minute * MINUTE;
            let report = json!({
                "isolate": "i", "number": number + 1, "issuer": "i", "from_ms": at, "to_ms": at,
                "routes": [{"name": "GET /"}], "places": [place], "codes": [code], "tokens": ["t"],
                "uses": [[0, 0, 0, 0, 1, 0, 0]],
            });
            let reported = Reported {
                report: serde_json::from_value(report).unwrap(),
                reporter: "g".into(),
                audiences: vec!["a".into()],
                at_ms: at,
            };
            reported.report.check().unwrap();
            let mut sums = Sums::default();
            let by_id = std::collections::HashMap::from([("t".to_owned(), known.clone())]);
            add(&reported, &by_id, &mut sums);
            let by_seq = std::collections::HashMap::from([(1, ("t", &known))]);
            let found = sums.add_to(&mut uses_by_token, &by_seq, &rules);
            all.extend(found.into_iter().map(|found| format!("{minute}: {}", found.evidence)));
        }
        all
    }

    fn at(country: &str, asn: u32) -> serde_json::Value {
        json!({"country": country, "asn": asn})
    }

    #[test]
    fn kinds_count_within_their_time() {
        let when = || json!({"countries": {"more_than": 2, "within": "1h"}});
        let uses = [
            (0, "accepted", at("CH", 1)),
            (10, "accepted", at("DE", 1)),
            (80, "accepted", at("FR", 1)),
            (85, "accepted", at("CH", 1)),
        ];
        assert_eq!(found(when(), &uses), [] as [&str; 0], "DE is an hour ago by then");
        let more = [&uses[..], &[(86, "accepted", at("US", 1))]].concat();
        assert_eq!(found(when(), &more), ["86: used from 3 countries within 1h: CH, FR, US"]);
        let networks = json!({"networks": {"more_than": 1, "within": "1h"}});
        let uses = [(0, "accepted", at("CH", 1)), (1, "accepted", at("CH", 2))];
        assert_eq!(found(networks, &uses), ["1: used from 2 networks within 1h: 1, 2"]);
    }

    #[test]
    fn travel_needs_a_way_and_a_speed() {
        let when = || json!({"travel": {"faster_than": 1000}});
        let (zurich, bern, tokyo) =
            (json!({"at": "47,9"}), json!({"at": "47,7"}), json!({"at": "36,140"}));
        let uses = [(0, "accepted", zurich.clone()), (1, "accepted", bern)];
        assert_eq!(found(when(), &uses), [] as [&str; 0], "one network, two positions");
        let flown = [(0, "accepted", zurich.clone()), (13 * 60, "accepted", tokyo.clone())];
        assert_eq!(found(when(), &flown), [] as [&str; 0]);
        let both = [(0, "accepted", zurich.clone()), (30, "accepted", tokyo.clone())];
        let said = found(when(), &both);
        assert!(said.len() == 1 && said[0].contains("km apart"), "{said:?}");
        // The report of the first use comes last.
        let turned = [(30, "accepted", tokyo), (0, "accepted", zurich)];
        assert_eq!(found(when(), &turned).len(), 1);
        assert_eq!(found(when(), &[(0, "accepted", json!({"at": "900,9"}))]), [] as [&str; 0]);
    }

    #[test]
    fn refusals_first_uses_and_revoked_tokens() {
        let when =
            json!({"refusals": {"more_than": 2, "within": "10m", "codes": ["scope_insufficient"]}});
        let refused = |minute| (minute, "scope_insufficient", at("CH", 1));
        let uses =
            [refused(0), (1, "token_expired", at("CH", 1)), refused(2), refused(40), refused(41)];
        assert_eq!(found(when.clone(), &uses), [] as [&str; 0]);
        let more = [&uses[..], &[refused(42)]].concat();
        assert_eq!(found(when, &more), ["42: refused 3 times within 10m"]);

        let late = json!({"first_use": {"after": "1h"}});
        let uses = [(61, "accepted", at("CH", 1)), (90, "accepted", at("CH", 1))];
        assert_eq!(found(late.clone(), &uses), ["61: used first 3660 s after it was issued"]);
        assert_eq!(
            found(late, &[(5, "accepted", at("CH", 1)), (90, "accepted", at("CH", 1))]),
            [] as [&str; 0]
        );

        let elsewhere = || json!({"revoked_elsewhere": {}});
        let home = [(0, "accepted", at("CH", 1)), (1, "token_revoked", at("CH", 1))];
        assert_eq!(found(elsewhere(), &home), [] as [&str; 0]);
        let away = [&home[..], &[(2, "token_revoked", at("CH", 7))]].concat();
        let said = "2: used although revoked, from AS7, from where it was never accepted";
        assert_eq!(found(elsewhere(), &away), [said]);

        let removed = json!({"removed_client": {}});
        assert_eq!(found(removed, &home), ["0: its client is not in the policy"]);
    }

    #[test]
    fn a_rate_is_compared_with_the_median_once_there_are_enough_days() {
        let rule = json!({"name": "r", "when": {"rate": {"times": 3, "after_days": 3}}, "action": "alert"});
        let rule: Rule = serde_json::from_value(rule).unwrap();
        let brakes = Brakes::default();
        let rules =
            Rules { rules: &[rule], brakes: &brakes, clients: &[], policy: 1, now_ms: START };
        // One day with a hundred times as many says little.
        let days = [(1, 10), (2, 1000), (3, 12), (4, 36)];
        assert_eq!(judge_rate(&rules, "reader", 4, &days), []);
        let more = [(1, 10), (2, 1000), (3, 12), (4, 37)];
        let found = judge_rate(&rules, "reader", 4, &more);
        assert_eq!(found[0].evidence, "37 requests on a day; the median of 3 days is 12");
        assert_eq!(judge_rate(&rules, "reader", 4, &more[1..]), [], "it is not warm yet");
    }

    #[test]
    fn brakes_decide_what_follows() {
        let found = |action, dry_run| Found {
            rule: "r".into(),
            subject: "t".into(),
            role: "reader".into(),
            client_id: "c".into(),
            action,
            dry_run,
            evidence: String::new(),
        };
        let brakes = Brakes { acts_per_hour: 2, acts_per_hour_and_role: 1, ..Brakes::default() };
        let first =
            |action, dry, acts, of_role| first_outcome(&found(action, dry), &brakes, acts, of_role);
        assert_eq!(first(Action::Alert, false, 9, 9), Outcome::Alert);
        assert_eq!(first(Action::Suspend, false, 0, 0), Outcome::Pending);
        assert_eq!(first(Action::Suspend, false, 2, 0), Outcome::Capped);
        assert_eq!(first(Action::Suspend, false, 1, 1), Outcome::Capped);
        assert_eq!(first(Action::Revoke, true, 0, 0), Outcome::DryRun);
        for (roles, clients) in
            [(vec!["reader".to_owned()], vec![]), (vec![], vec!["c".to_owned()])]
        {
            let never = Brakes { never_roles: roles, never_clients: clients, ..Brakes::default() };
            assert_eq!(first_outcome(&found(Action::Revoke, false), &never, 0, 0), Outcome::Never);
        }
    }

    #[test]
    fn a_rule_that_cannot_work_is_a_mistake() {
        for (when, action) in [
            (json!({"countries": {"more_than": 16, "within": "1h"}}), "alert"),
            (json!({"countries": {"more_than": 1, "within": "2d"}}), "alert"),
            (json!({"refusals": {"more_than": 1, "within": "2h"}}), "alert"),
            (json!({"refusals": {"more_than": 0, "within": "1h"}}), "alert"),
            (json!({"travel": {"faster_than": 5}}), "alert"),
            (json!({"rate": {"times": 3, "after_days": 7}}), "suspend"),
            (json!({"rate": {"times": 1, "after_days": 7}}), "alert"),
            (json!({"revoked_elsewhere": {}}), "suspend"),
        ] {
            let rule = json!({"name": "r", "when": when, "action": action});
            let rule: Rule = serde_json::from_value(rule).unwrap();
            assert!(rule.mistake().is_some(), "{rule:?}");
        }
    }
}
