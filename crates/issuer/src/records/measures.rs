//! Technical and organisational measures, as configured and as measured.

use std::collections::BTreeSet;
use std::time::Duration;

use edgepass_verify::policy::duration::DurationText;
use serde::Serialize;

use crate::config::Config;
use crate::policy::{Role, SenderConstraint};

/// A measure.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Measure {
    /// The class of DPV 2.3.
    pub dpv: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What holds, or why it is not known.
    pub text: String,
    /// Where it is from.
    pub source: Source,
}

/// Where the text of a measure is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The configuration.
    Configured,
    /// The storage, or a measurement.
    Measured,
    /// Nowhere.
    Unknown,
}

/// What was measured of an environment.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The name of the environment. `None`: there is one alone.
    pub environment: Option<String>,
    /// The newest tokens. `None`: there are none.
    pub issued: Option<Issued>,
    /// What `edgepass doctor --url` says of the revocation deadline. `None`: it was not measured.
    pub deadline: Option<String>,
    /// The number of entries of the audit log.
    pub audit_entries: u64,
    /// The names of requests for access that broke the glass and were not reviewed.
    pub unreviewed: Vec<String>,
    /// What the guard masks, a line each. `None`: its policy was not named.
    pub masks: Option<Vec<String>>,
}

/// The newest tokens of an environment.
#[derive(Clone, Debug)]
pub struct Issued {
    /// How many were looked at.
    pub tokens: u64,
    /// The longest lifetime among them, in seconds.
    pub longest: u64,
    /// How many are bound to a key or a certificate.
    pub bound: u64,
}

/// The measures of roles.
pub(crate) fn of(roles: &[(&Config, &Role)], measured: &[Measured]) -> Vec<Measure> {
    let mut all = Vec::new();
    let mut add = |dpv, title, text: String, source| all.push(Measure { dpv, title, text, source });
    let seconds = |seconds: u64| DurationText(Duration::from_secs(seconds)).to_string();
    let longest = roles.iter().map(|(_, role)| role.max_lifetime).max();
    if let Some(longest) = longest {
        let text = format!("Access tokens last at most {}", seconds(longest));
        add("dpv:AuthorisationProtocols", "Lifetime of access", text, Source::Configured);
    }
    let is_used =
        |one: &&Measured| roles.iter().any(|(config, _)| config.environment == one.environment);
    for one in measured.iter().filter(is_used) {
        let of = one.environment.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        if let Some(Issued { tokens, longest, bound }) = &one.issued {
            let text = format!(
                "{of}of the newest {tokens} tokens, the longest lasts {}; {bound} are bound to a key or a certificate",
                seconds(*longest)
            );
            add("dpv:AuthorisationProtocols", "Lifetime of access", text, Source::Measured);
        }
        let (text, source) = match &one.deadline {
            Some(deadline) => (format!("{of}{deadline}"), Source::Measured),
            None => (
                format!(
                    "{of}unknown: run `edgepass doctor --url URL --json > doctor.json`, and pass --doctor doctor.json"
                ),
                Source::Unknown,
            ),
        };
        add("dpv:AccessControlMethod", "Time until a revoked token is refused", text, source);
        let text = format!("{of}{} entries, in a log that proves itself", one.audit_entries);
        add("dpv:LoggingPolicy", "Audit trail", text, Source::Measured);
        if !one.unreviewed.is_empty() {
            let text = format!(
                "{of}access without an approval that nobody has reviewed: {}",
                one.unreviewed.join(", ")
            );
            add("dpv:ApprovalProcedure", "Access without an approval", text, Source::Measured);
        }
        let (text, source) = match &one.masks {
            Some(masks) if masks.is_empty() => {
                (format!("{of}none: the guard's policy masks nothing"), Source::Configured)
            }
            Some(masks) => (format!("{of}{}", masks.join("; ")), Source::Configured),
            None => (
                format!("{of}unknown: name the guard's policy with --guard guard.toml"),
                Source::Unknown,
            ),
        };
        add("dpv:Pseudonymisation", "Masking in responses", text, source);
    }
    let algorithms: BTreeSet<&str> =
        roles.iter().map(|(config, _)| config.keys.algorithm.name()).collect();
    let text =
        format!("Tokens are signed with {}", algorithms.into_iter().collect::<Vec<_>>().join(", "));
    add("dpv:DigitalSignatures", "Signatures", text, Source::Configured);
    for (config, role) in roles {
        let of = config.environment.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let name = format!("{of}{}", role.name);
        match role.sender {
            SenderConstraint::None => {}
            SenderConstraint::Dpop => add(
                "dpv:AuthenticationProtocols",
                "Binding to the sender",
                format!("{name}: tokens are bound to a key (RFC 9449)"),
                Source::Configured,
            ),
            SenderConstraint::Mtls => add(
                "dpv:AuthenticationProtocols",
                "Binding to the sender",
                format!("{name}: tokens are bound to a certificate (RFC 8705)"),
                Source::Configured,
            ),
        }
        if !role.networks.is_empty() {
            let text = format!("{name}: only from {}", role.networks.join(", "));
            add("dpv:AccessControlMethod", "Networks", text, Source::Configured);
        }
        if let Some(rule) = config.policy.approval(&role.name) {
            let without = match rule.may_break_glass.as_slice() {
                [] => String::new(),
                some => format!("; without an approval by {}", some.join(", ")),
            };
            let text = format!(
                "{name}: used only after {} of {} approved, for at most {}{without}",
                rule.approvals,
                rule.may_approve.join(", "),
                seconds(rule.longest)
            );
            add("dpv:ApprovalProcedure", "Approval", text, Source::Configured);
        }
        if let Some(agreement) =
            role.agreement.as_deref().and_then(|id| config.policy.agreement(id))
            && agreement.enforce_regions
        {
            let text = format!("{name}: only from {}", agreement.regions.join(", "));
            add("dpv:AccessControlMethod", "Regions", text, Source::Configured);
        }
    }
    all
}
