//! What a policy allows and nobody used: the smallest changes that take it away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgepass_verify::policy::duration::DurationText;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{IssuerPolicy, Role, SenderConstraint, operator_scopes};
use crate::config::EntryKind;
use crate::storage::TokenRecord;
use crate::usage::TokenUse;

/// What was seen of a role's tokens within the time that is looked at.
#[derive(Clone, Debug, Default)]
pub struct RoleUse {
    /// Accepted requests.
    pub accepted: u64,
    /// Scope tokens that routes needed.
    pub scopes: BTreeSet<String>,
    /// Accepted requests by client.
    pub clients: BTreeMap<String, u64>,
    /// The newest tokens, each with its use if it was reported.
    pub tokens: Vec<(TokenRecord, Option<TokenUse>)>,
}

/// The entries that a policy had when the time that is looked at began.
#[derive(Clone, Debug, Default)]
pub struct OldPolicy {
    /// Scope tokens by role.
    roles: BTreeMap<String, BTreeSet<String>>,
    /// Roles by client.
    clients: BTreeMap<String, BTreeSet<String>>,
}

impl OldPolicy {
    /// Reads a stored policy.
    pub fn of(policy: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| policy.get(name).and_then(Value::as_array).into_iter().flatten();
        let words = |value: &Value| text(value).split(' ').map(str::to_owned).collect();
        let items = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        let member = |entry: &Value, name: &str| entry.get(name).cloned().unwrap_or_default();
        Self {
            roles: list("roles")
                .map(|role| (text(&member(role, "name")), words(&member(role, "scope"))))
                .collect(),
            clients: list("clients")
                .map(|client| (text(&member(client, "id")), items(&member(client, "roles"))))
                .collect(),
        }
    }
}

/// Something that the policy allows and nobody used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UseFinding {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The name of the entry.
    pub name: String,
    /// What was seen, in a sentence.
    pub what: String,
    /// The smallest change that fixes it.
    pub change: Fix,
}

/// A change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// The entry goes. Clients that name the role name it no more.
    Remove,
    /// The item of a list goes: a scope of a role, or a role of a client.
    RemoveItem {
        /// `scopes` or `roles`.
        list: String,
        /// The item.
        item: String,
    },
    /// A lifetime, in seconds.
    Lifetime(u64),
    /// The networks of a role.
    Networks(Vec<String>),
    /// The client gets another secret.
    NewSecret,
    /// The tokens are revoked: their `jti`.
    Revoke(Vec<String>),
}

/// How a review looks.
#[derive(Clone, Copy, Debug)]
pub struct Review {
    /// The time, in seconds.
    pub now: u64,
    /// The time that is looked at, in seconds.
    pub period: u64,
    /// The oldest that a secret may be, in seconds. `None`: secrets are not looked at.
    pub secret_age: Option<u64>,
}

/// Tokens without which nothing is said about all tokens of a role.
const FEW: usize = 20;
/// A lifetime is too long if it is so many times what tokens are used.
const TOO_LONG: u64 = 4;
/// A token that lasts longer than that is looked at by itself, in seconds.
const LONG_LIVED: u64 = 60 * 60;
/// Tokens that one finding names.
const MAX_NAMED: usize = 10;

/// Looks at a policy. `uses` are by role, and `secrets` says since when, in seconds, each client has had its
/// secret. A role whose use is not completely known has no findings.
pub fn review_use(
    policy: &IssuerPolicy,
    old: &OldPolicy,
    uses: &BTreeMap<String, RoleUse>,
    secrets: &BTreeMap<String, u64>,
    how: &Review,
) -> Vec<UseFinding> {
    let period = DurationText(Duration::from_secs(how.period));
    let mut found = Vec::new();
    for role in &policy.roles {
        let known = uses.get(&role.name);
        // Guards do not see the issuer's own routes.
        let is_for_operators = role.scope.iter().any(operator_scopes::is_one);
        if let (Some(uses), false) = (known, is_for_operators) {
            of_role(role, old.roles.get(&role.name), uses, (how, &period), &mut found);
        }
    }
    for client in &policy.clients {
        let mut find = |what: String, change: Fix| {
            found.push(UseFinding {
                kind: EntryKind::Client,
                name: client.id.clone(),
                what,
                change,
            });
        };
        if let (Some(most), Some(since)) = (how.secret_age, secrets.get(&client.id)) {
            let age = how.now.saturating_sub(*since);
            if age > most {
                let days = age / 86_400;
                find(format!("its secret is {days} days old"), Fix::NewSecret);
            }
        }
        let Some(old_roles) = old.clients.get(&client.id) else { continue };
        // All of its roles are known, and guards see them all.
        let complete = |name: &String| {
            let is_for_operators =
                policy.role(name).is_ok_and(|role| role.scope.iter().any(operator_scopes::is_one));
            !is_for_operators && uses.contains_key(name)
        };
        let used = |name: &String| {
            uses.get(name)
                .and_then(|uses| uses.clients.get(&client.id))
                .copied()
                .unwrap_or_default()
        };
        let judged: Vec<&String> = client
            .roles
            .iter()
            .filter(|role| complete(role) && old_roles.contains(*role))
            .collect();
        let has_other_use = !client.introspects.is_empty()
            || !client.exchanges.is_empty()
            || client.allots
            || !client.may.is_empty()
            || !client.reports_use_of.is_empty();
        let all_unused =
            judged.len() == client.roles.len() && judged.iter().all(|role| used(role) == 0);
        if all_unused && !client.roles.is_empty() && !has_other_use {
            find(format!("none of its tokens was used in {period}"), Fix::Remove);
            continue;
        }
        for role in judged.into_iter().filter(|role| used(role) == 0) {
            // Of a role that nobody uses the role itself is found.
            if uses.get(role).is_some_and(|uses| uses.accepted > 0) {
                let change = Fix::RemoveItem { list: "roles".to_owned(), item: role.clone() };
                find(format!("none of its tokens of role {role} was used in {period}"), change);
            }
        }
    }
    found
}

fn of_role(
    role: &Role,
    old: Option<&BTreeSet<String>>,
    uses: &RoleUse,
    (how, period): (&Review, &DurationText),
    found: &mut Vec<UseFinding>,
) {
    let mut find = |what: String, change: Fix| {
        found.push(UseFinding { kind: EntryKind::Role, name: role.name.clone(), what, change });
    };
    if uses.accepted == 0 {
        if old.is_some() {
            find(format!("none of its tokens was used in {period}"), Fix::Remove);
        }
        return;
    }
    let granted: Vec<&str> = role.scope.iter().collect();
    for scope in &granted {
        let was_granted = old.is_some_and(|old| old.contains(*scope));
        if was_granted && granted.len() > 1 && !uses.scopes.contains(*scope) {
            let change = Fix::RemoveItem { list: "scopes".to_owned(), item: (*scope).to_owned() };
            let accepted = uses.accepted;
            find(format!("no route needed {scope} in {period}, in {accepted} requests"), change);
        }
    }
    let used: Vec<(&TokenRecord, &TokenUse)> = uses
        .tokens
        .iter()
        .filter_map(|(record, used)| Some((record, used.as_ref().filter(|it| it.accepted > 0)?)))
        .collect();
    // Tokens that may still be used say nothing about how long they are.
    let ended = used.iter().filter(|(record, _)| record.facts.expiration <= how.now);
    let spans: Vec<u64> = ended
        .filter_map(|(record, used)| {
            Some((used.last_ms? / 1000).saturating_sub(record.facts.issued_at))
        })
        .collect();
    if let (true, Some(longest)) = (spans.len() >= FEW, spans.iter().max().copied())
        && role.lifetime >= 60
        && longest.saturating_mul(TOO_LONG) <= role.lifetime
    {
        let fitting = longest.saturating_mul(2).next_multiple_of(60).max(60);
        let count = spans.len();
        find(
            format!("of {count} tokens none was used later than {longest} s after its issue"),
            Fix::Lifetime(fitting),
        );
    }
    let asns: BTreeSet<&String> =
        used.iter().flat_map(|(_, used)| used.detail.asns.counts.keys()).collect();
    let is_told = used.iter().all(|(_, used)| {
        let told = used.detail.asns.counts.values().map(|one| one.count).sum::<u64>();
        used.detail.asns.others == 0 && told >= used.accepted
    });
    let is_free = role.sender == SenderConstraint::None && role.networks.is_empty();
    if let (true, true, true, [asn]) =
        (used.len() >= FEW, is_told, is_free, Vec::from_iter(asns).as_slice())
    {
        let count = used.len();
        let change = Fix::Networks(vec![format!("AS{asn}")]);
        find(format!("all of its last {count} tokens were used from one network, AS{asn}"), change);
    }
    let idle: Vec<String> = uses
        .tokens
        .iter()
        .filter(|(record, used)| {
            let facts = &record.facts;
            let last =
                used.as_ref().and_then(|used| used.last_ms).map_or(facts.issued_at, |at| at / 1000);
            record.state(false, how.now) == "live"
                && facts.expiration.saturating_sub(facts.issued_at) > LONG_LIVED
                && facts.expiration.saturating_sub(how.now) > LONG_LIVED
                && how.now.saturating_sub(last) > LONG_LIVED
        })
        .map(|(record, _)| record.facts.jwt_id.clone())
        .collect();
    if !idle.is_empty() {
        let count = idle.len();
        let named = idle.into_iter().take(MAX_NAMED).collect();
        find(
            format!("{count} live tokens were not used for more than an hour"),
            Fix::Revoke(named),
        );
    }
}
