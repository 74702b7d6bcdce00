//! The checks of roles, clients, the scope catalogue, agreements and environments.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use edgepass_jose::Scope;
use edgepass_verify::checks::networks::{MAX_NETWORKS, NetworkRule};
use edgepass_verify::checks::purpose::{MAX_ITEMS, Region};
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::sender::CertificateThumbprint;
use regex_lite::Regex;
use toml::value::{Datetime, Offset};

use super::LIFETIME_CAP;
use super::OWN_CLIENTS;
use super::countries::is_country;
use super::error::Mistake;
use super::written::{
    AgreementText, ApprovalText, ClientText, EnvironmentText, FederationText, MisuseText,
    NamingText, PartyText, RoleText, ScopeText, SecretText, TokensText,
};
use crate::access::{ApprovalRule, is_party, whole};
use crate::client::keys::ClientKeys;
use crate::client::secret::{DatedSecret, SecretHash};
use crate::client::{Authentication, Client};
use crate::misuse::{Action, Brakes, Rule};
use crate::policy::Role;
use crate::policy::agreement::Agreement;
use crate::policy::catalogue::CataloguedScope;
use crate::policy::federation::Federation;
use crate::policy::operator_scopes;
use crate::records::Party;
use crate::selection::StatusChange;
use crate::sidecar::ROLE;

/// First path segments of the issuer's own routes, which no environment may be called.
const RESERVED: [&str; 9] =
    ["admin", "console", "healthz", "leaks", "metrics", "oauth", "readyz", "status", "v1"];

/// The patterns of `[naming]`. `None`: any name.
#[derive(Default)]
pub(super) struct Naming {
    role: Option<Regex>,
    client: Option<Regex>,
    scope: Option<Regex>,
}

impl Naming {
    pub(super) fn new(text: NamingText) -> Result<Self, Mistake> {
        let compile = |kind, pattern: Option<String>| {
            let whole = |pattern: String| whole(&pattern).ok_or(Mistake::NamingPattern(kind));
            pattern.map(whole).transpose()
        };
        Ok(Self {
            role: compile("role", text.role)?,
            client: compile("client", text.client)?,
            scope: compile("scope", text.scope)?,
        })
    }
}

fn fits(kind: &'static str, name: &str, pattern: Option<&Regex>) -> Result<(), Mistake> {
    match pattern {
        Some(pattern) if !pattern.is_match(name) => {
            Err(Mistake::Naming { kind, name: name.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Checks the name of an environment, which differs from those `before`.
pub(super) fn environment(text: EnvironmentText, before: &[String]) -> Result<String, Mistake> {
    let name = text.name;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_right = (1..=32).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with("status-")
        && !RESERVED.contains(&name.as_str())
        && !before.contains(&name);
    if is_right { Ok(name) } else { Err(Mistake::EnvironmentName) }
}

/// The environment that a role or client names. `None`: the configuration has no environments.
fn environment_of(
    what: impl Fn() -> String,
    named: Option<String>,
    all: &[String],
) -> Result<Option<String>, Mistake> {
    match named {
        None if all.is_empty() => Ok(None),
        Some(name) if all.contains(&name) => Ok(Some(name)),
        None => Err(Mistake::WithoutEnvironment { what: what(), known: all.join(", ") }),
        Some(_) => Err(Mistake::UnknownEnvironment { what: what(), known: all.join(", ") }),
    }
}

/// Checks a `[[scope]]`. Its name differs from those `before`.
pub(super) fn scope(
    text: ScopeText,
    naming: &Naming,
    before: &[CataloguedScope],
) -> Result<CataloguedScope, Mistake> {
    let ScopeText { name, description, data, subjects, personal } = text;
    let is_token = Scope::parse(&name).is_ok_and(|scope| scope.iter().count() == 1);
    if !is_token || before.iter().any(|other| other.name == name) {
        return Err(Mistake::ScopeName);
    }
    fits("scope", &name, naming.scope.as_ref())?;
    let lists = [("data", &data), ("subjects", &subjects)];
    if let Some((field, _)) = lists.into_iter().find(|(_, list)| !are_names(list)) {
        return Err(Mistake::ScopePart { scope: name, field });
    }
    if !is_name(&description) {
        return Err(Mistake::ScopePart { scope: name, field: "description" });
    }
    if personal && data.is_empty() {
        return Err(Mistake::PersonalWithoutData(name));
    }
    Ok(CataloguedScope { name, description, data, subjects, personal })
}

/// Checks an `[[agreement]]`. Its `id` differs from those `before`.
pub(super) fn agreement(
    text: AgreementText,
    before: &[Agreement],
    known_parties: &HashSet<String>,
) -> Result<Agreement, Mistake> {
    let AgreementText { id, parties, purposes, data, recipients, regions, .. } = text;
    let (retention, start, end) = (text.retention, text.start, text.end);
    let enforce_regions = text.enforce_regions;
    if !is_name(&id) || before.iter().any(|other| other.id == id) {
        return Err(Mistake::AgreementId);
    }
    let of = |field| Mistake::AgreementPart { agreement: id.clone(), field };
    for (field, list, least) in [
        ("parties", &parties, 2),
        ("purposes", &purposes, 1),
        ("data", &data, 1),
        ("recipients", &recipients, 0),
        ("regions", &regions, 0),
    ] {
        if list.len() < least || list.len() > MAX_ITEMS || !are_names(list) {
            return Err(of(field));
        }
    }
    let unknown = parties.iter().find(|party| !known_parties.contains(*party));
    if let (false, Some(party)) = (known_parties.is_empty(), unknown) {
        return Err(Mistake::UnknownParty { agreement: id, party: party.clone() });
    }
    let is_safe = |(region, text): (&String, &String)| regions.contains(region) && is_name(text);
    if !text.safeguards.iter().all(is_safe) {
        return Err(of("safeguards"));
    }
    let is_region =
        |name: &String| Region::parse(name).is_some() && (name == "EU" || is_country(name));
    if enforce_regions && (regions.is_empty() || !regions.iter().all(is_region)) {
        return Err(Mistake::AgreementRegions(id));
    }
    let date = |field| Mistake::AgreementDate { agreement: id.clone(), field };
    let start = instant(&start, Bound::First).ok_or_else(|| date("start"))?;
    let end = end.map(|end| instant(&end, Bound::Last).ok_or_else(|| date("end"))).transpose()?;
    if end.is_some_and(|end| end <= start) {
        return Err(Mistake::AgreementDates(id));
    }
    let retention = retention.map(|DurationText(retention)| retention.as_secs());
    Ok(Agreement {
        id,
        parties,
        purposes,
        data,
        recipients,
        regions,
        enforce_regions,
        safeguards: text.safeguards,
        retention,
        start,
        end,
    })
}

/// Checks a `[[party]]`. Its name differs from those `before`.
pub(super) fn party(text: PartyText, before: &[Party]) -> Result<Party, Mistake> {
    let PartyText { name, kind, contact, representative, dpo, country } = text;
    let texts = [&contact, &representative, &dpo];
    let is_code = |country: &String| country.len() == 2 && is_country(country);
    let is_right = is_name(&name)
        && before.iter().all(|other| other.name != name)
        && texts.into_iter().flatten().all(|text| is_name(text))
        && country.as_ref().is_none_or(is_code);
    match is_right {
        true => Ok(Party { name, kind, contact, representative, dpo, country }),
        false => Err(Mistake::Party(name)),
    }
}

/// Which second of a day a date means.
enum Bound {
    /// The first of the day.
    First,
    /// The first after the day.
    Last,
}

/// A date in UTC, or a time with its offset, in seconds since the epoch. `None`: it is neither, or
/// not in 1970 to 9999.
fn instant(written: &Datetime, bound: Bound) -> Option<u64> {
    let date = written.date?;
    let date = NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into())?;
    let (day, offset) = match (written.time, written.offset) {
        (None, None) => match bound {
            Bound::First => (date.and_time(NaiveTime::MIN), 0),
            Bound::Last => (date.succ_opt()?.and_time(NaiveTime::MIN), 0),
        },
        (Some(time), Some(offset)) => {
            let second = time.second.unwrap_or_default();
            let time = NaiveTime::from_hms_opt(time.hour.into(), time.minute.into(), second.into());
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes),
            };
            (NaiveDateTime::new(date, time?), minutes.saturating_mul(60))
        }
        _ => return None,
    };
    day.and_utc().timestamp().saturating_sub(offset).try_into().ok()
}

/// What the check of a role needs to know.
pub(super) struct RoleRules<'a> {
    pub(super) tokens: &'a TokensText,
    pub(super) naming: &'a Naming,
    /// The issuer identifier of the configuration, if it is written.
    pub(super) issuer: Option<&'a str>,
    pub(super) environments: &'a [String],
    pub(super) scopes: &'a [CataloguedScope],
    /// The names of all `[[scope]]`, with or without mistakes.
    pub(super) known_scopes: &'a HashSet<String>,
    pub(super) agreements: &'a [Agreement],
    /// The `id` of all `[[agreement]]`, with or without mistakes.
    pub(super) known_agreements: &'a HashSet<String>,
}

/// A role, a client or its name, with its environment.
pub(super) type Placed<T> = (Option<String>, T);

/// Checks a `[[role]]`. `[tokens]` supplies the lifetimes that the role lacks; a `lifetime` from
/// there is lowered to the role's `max_lifetime`. The name differs from those of the roles `before`
/// in its environment.
pub(super) fn role(
    text: RoleText,
    rules: &RoleRules<'_>,
    before: &[Placed<Role>],
) -> Result<Placed<Role>, Mistake> {
    let name = text.name;
    let what = || format!("role {name}");
    let environment = environment_of(what, text.environment, rules.environments)?;
    let is_taken = |(other_environment, other): &Placed<Role>| {
        *other_environment == environment && other.name == name
    };
    if !is_name(&name) || name == ROLE || before.iter().any(is_taken) {
        return Err(Mistake::RoleName);
    }
    fits("role", &name, rules.naming.role.as_ref())?;
    let audiences = match text.audience {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    };
    if audiences.is_empty() || !are_names(&audiences) {
        return Err(Mistake::RoleAudience(name));
    }
    let scope = match Scope::try_from(text.scopes) {
        Ok(scope) if !scope.is_empty() => scope,
        _ => return Err(Mistake::RoleScopes(name)),
    };
    let named = [("owner", &text.owner), ("description", &text.description)];
    let empty = |text: &Option<String>| text.as_deref().is_some_and(|text| !is_name(text));
    if let Some((field, _)) = named.into_iter().find(|(_, text)| empty(text)) {
        return Err(Mistake::RolePart { role: name, field });
    }
    let is_wrong = |text: &&String| {
        // Leading zeros, and the autonomous system 0, which nobody has.
        let is_odd = text.starts_with("AS0") || text.contains("/0") && !text.ends_with("/0");
        is_odd || NetworkRule::parse(text).is_none() || !is_country(text)
    };
    let networks = text.networks.as_deref();
    if networks.is_some_and(|all| {
        !(1..=MAX_NETWORKS).contains(&all.len()) || all.iter().any(|text| is_wrong(&text))
    }) {
        return Err(Mistake::RoleNetworks(name));
    }
    let (lifetime, max_lifetime) =
        lifetimes(&name, text.lifetime, text.max_lifetime, rules.tokens)?;
    let role = Role {
        name,
        audiences,
        scope,
        lifetime: lifetime.as_secs(),
        max_lifetime: max_lifetime.as_secs(),
        agreement: text.agreement,
        sender: text.sender,
        networks: text.networks.unwrap_or_default(),
        owner: text.owner,
        description: text.description,
    };
    let own = rules.issuer.map(|issuer| match &environment {
        None => issuer.to_owned(),
        Some(name) => format!("{issuer}/{name}"),
    });
    let is_for_operators = role.scope.iter().any(|scope| scope.starts_with(operator_scopes::START));
    let is_right = role.scope.iter().all(operator_scopes::is_one)
        && own.is_none_or(|own| role.audiences == [own]);
    if is_for_operators && !is_right {
        return Err(Mistake::OperatorScopes(role.name));
    }
    may_reach(&role, rules)?;
    let agreement = rules.agreements.iter().find(|one| role.agreement.as_ref() == Some(&one.id));
    let of_agreement = agreement.map_or(0, |one| {
        let texts = one.purposes.iter().chain(&one.data).chain(&one.regions);
        texts.map(|text| text.len().saturating_add(3)).sum::<usize>()
    });
    let networks: usize = role.networks.iter().map(|text| text.len().saturating_add(3)).sum();
    let scope = role.scope.to_string().len();
    if scope.saturating_add(networks).saturating_add(of_agreement) > MAX_CLAIMS {
        return Err(Mistake::RoleTooLarge(role.name));
    }
    Ok((environment, role))
}

/// The most octets that scopes, networks and agreement take in a token. With names of subjects, clients and audiences,
/// signature and base64 it is still shorter than the 8 KiB that most servers accept as a header field.
const MAX_CLAIMS: usize = 4096;

/// The lifetime and the longest lifetime of a role.
fn lifetimes(
    role: &str,
    lifetime: Option<DurationText>,
    max_lifetime: Option<DurationText>,
    tokens: &TokensText,
) -> Result<(Duration, Duration), Mistake> {
    let second = Duration::from_secs(1);
    let most = max_lifetime.unwrap_or(tokens.max_lifetime);
    if !(second..=LIFETIME_CAP).contains(&most.0) {
        let most = DurationText(LIFETIME_CAP);
        return Err(Mistake::RoleMaxLifetime { role: role.to_owned(), most });
    }
    let too_long = |most| Mistake::RoleLifetime { role: role.to_owned(), most };
    let lifetime = match lifetime {
        Some(own) => own.0,
        None if tokens.lifetime.0 > tokens.max_lifetime.0 => {
            return Err(too_long(tokens.max_lifetime));
        }
        None => tokens.lifetime.0.min(most.0),
    };
    if (second..=most.0).contains(&lifetime) { Ok((lifetime, most.0)) } else { Err(too_long(most)) }
}

/// Checks a role against the catalogue, if there is one, and against its agreement: a role that
/// touches personal data names an agreement, and the agreement covers the data categories of each of
/// the role's scopes.
fn may_reach(role: &Role, rules: &RoleRules<'_>) -> Result<(), Mistake> {
    let agreement = match &role.agreement {
        None => None,
        Some(id) => match rules.agreements.iter().find(|agreement| agreement.id == *id) {
            None if rules.known_agreements.contains(id) => return Ok(()),
            None => {
                let (role, agreement) = (role.name.clone(), id.clone());
                return Err(Mistake::UnknownAgreement { role, agreement });
            }
            found => found,
        },
    };
    for token in role.scope.iter().filter(|token| !operator_scopes::is_one(token)) {
        let (role, scope) = (|| role.name.clone(), || token.to_owned());
        let Some(known) = rules.scopes.iter().find(|known| known.name == token) else {
            if rules.known_scopes.is_empty() || rules.known_scopes.contains(token) {
                continue;
            }
            return Err(Mistake::NotInCatalogue { role: role(), scope: scope() });
        };
        match agreement {
            None if known.personal => {
                return Err(Mistake::NeedsAgreement { role: role(), scope: scope() });
            }
            None => {}
            Some(agreement) => {
                let outside = known.data.iter().find(|category| !agreement.data.contains(category));
                if let Some(data) = outside {
                    let (data, agreement) = (data.clone(), agreement.id.clone());
                    let (role, scope) = (role(), scope());
                    return Err(Mistake::OutsideAgreement { role, scope, data, agreement });
                }
            }
        }
    }
    Ok(())
}

/// What the check of a client needs to know.
pub(super) struct ClientRules<'a> {
    pub(super) naming: &'a Naming,
    pub(super) environments: &'a [String],
    /// Environment and name of all `[[role]]`, with or without mistakes.
    pub(super) known_roles: &'a HashSet<Placed<String>>,
    /// Whether tokens can be suspended.
    pub(super) suspension: bool,
}

/// The longest `client_id`, in bytes.
const MAX_CLIENT_ID: usize = 256;

/// Checks a `[[client]]`. Its `roles` must exist in its environment, where its `id` differs from
/// those of the clients `before`.
pub(super) fn client(
    mut text: ClientText,
    rules: &ClientRules<'_>,
    before: &[Placed<Client>],
) -> Result<Placed<Client>, Mistake> {
    let id = std::mem::take(&mut text.id);
    let named = text.environment.take();
    let environment = environment_of(|| format!("client {id}"), named, rules.environments)?;
    let is_taken = |(other_environment, other): &Placed<Client>| {
        *other_environment == environment && other.id == id
    };
    if !is_client_id(&id) || before.iter().any(is_taken) {
        return Err(Mistake::ClientId);
    }
    fits("client", &id, rules.naming.client.as_ref())?;
    let has_use = !text.introspects.is_empty() || !text.exchanges.is_empty() || text.allots;
    if text.roles.is_empty() && !has_use {
        return Err(Mistake::ClientWithoutRole(id));
    }
    for (field, audiences) in [
        ("introspects", &text.introspects),
        ("exchanges", &text.exchanges),
        ("reports_use_of", &text.reports_use_of),
    ] {
        if !are_names(audiences) {
            return Err(Mistake::ClientAudiences { client: id, field });
        }
    }
    let exists = |name: &String| rules.known_roles.contains(&(environment.clone(), name.clone()));
    if let Some(unknown) = text.roles.iter().find(|name| !exists(name)) {
        return Err(Mistake::UnknownRole { role: unknown.clone(), what: format!("client {id}") });
    }
    if !rules.suspension && text.may.iter().any(|change| *change != StatusChange::Revoke) {
        return Err(Mistake::NeedsSuspension(id));
    }
    let authentication = authentication(&id, &text)?;
    let ClientText { roles, may, introspects, exchanges, allots, reports_use_of, .. } = text;
    let client =
        Client { id, roles, may, introspects, exchanges, allots, reports_use_of, authentication };
    Ok((environment, client))
}

/// What the check of a federation needs to know.
pub(super) struct FederationRules<'a> {
    pub(super) naming: &'a Naming,
    pub(super) environments: &'a [String],
    pub(super) roles: &'a [Placed<Role>],
    pub(super) known_roles: &'a HashSet<Placed<String>>,
    pub(super) clients: &'a [Placed<Client>],
    pub(super) approvals: &'a [Placed<ApprovalRule>],
    /// Whether there is a webhook, and whether e-mail can be sent.
    pub(super) channels: (bool, bool),
}

/// The lifetime of a federation's tokens if it sets none.
const FEDERATED_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Checks a `[[federation]]`. Its name differs from those of the clients and of the federations
/// `before` in its environment.
pub(super) fn federation(
    text: FederationText,
    rules: &FederationRules<'_>,
    before: &[Placed<Federation>],
) -> Result<Placed<Federation>, Mistake> {
    let FederationText { name, environment, issuer, jwks_uri, role, claims, lifetime } = text;
    let what = || format!("federation {name}");
    let environment = environment_of(what, environment, rules.environments)?;
    let is_taken =
        rules.clients.iter().any(|(own, client)| *own == environment && client.id == name)
            || before.iter().any(|(own, other)| *own == environment && other.name == name);
    // Its tokens have the name as `client_id`, and before a colon in `sub`.
    if !is_client_id(&name) || is_taken {
        return Err(Mistake::FederationName);
    }
    fits("client", &name, rules.naming.client.as_ref())?;
    if !rules.known_roles.contains(&(environment.clone(), role.clone())) {
        return Err(Mistake::UnknownRole { what: format!("federation {name}"), role });
    }
    let mut approvals = rules.approvals.iter().filter(|(own, _)| *own == environment);
    if approvals.any(|(_, rule)| rule.roles.contains(&role)) {
        return Err(Mistake::FederationNeedsApproval { federation: name, role });
    }
    let is_it = |(own, one): &&Placed<Role>| *own == environment && one.name == role;
    let most = rules.roles.iter().find(is_it).map_or(u64::MAX, |(_, role)| role.max_lifetime);
    let lifetime = match lifetime.map(|lifetime| lifetime.0.as_secs()) {
        None => FEDERATED_LIFETIME.as_secs().min(most),
        Some(written) if (1..=most).contains(&written) => written,
        Some(_) => {
            let most = DurationText(Duration::from_secs(most));
            return Err(Mistake::FederationLifetime { federation: name, most });
        }
    };
    let federation = Federation { name, issuer, jwks_uri, claims, role, lifetime };
    if let Err(error) = federation.verifier("https://issuer.example") {
        return Err(Mistake::Federation { federation: federation.name, reason: error.to_string() });
    }
    // People who ask and decide are known by the `sub` of each token, and may be let in by their group.
    let asks = [operator_scopes::REQUEST, operator_scopes::APPROVE];
    let is_for_people = rules.roles.iter().any(|(own, role)| {
        *own == environment
            && role.name == federation.role
            && role.scope.iter().all(|scope| asks.contains(&scope))
    });
    let is_by_group = is_for_people && !federation.claims.is_empty();
    if !federation.is_immutable() && !is_by_group {
        return Err(Mistake::FederationCondition(federation.name));
    }
    Ok((environment, federation))
}

/// The longest access, and the longest time ahead, of a rule about approvals.
const LONGEST_ACCESS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most addresses that a rule about approvals tells.
const MAX_TOLD: usize = 20;

/// Checks an `[[approval]]`. Its roles exist in its environment, and are in no rule of those `before`.
pub(super) fn approval(
    text: ApprovalText,
    rules: &FederationRules<'_>,
    before: &[Placed<ApprovalRule>],
) -> Result<Placed<ApprovalRule>, Mistake> {
    let name = text.name;
    let what = || format!("approval {name}");
    let environment = environment_of(what, text.environment, rules.environments)?;
    let wrong = |reason| Mistake::Approval { rule: name.clone(), reason };
    let own = || before.iter().filter(|(other, _)| *other == environment).map(|(_, rule)| rule);
    if !is_name(&name) || own().any(|other| other.name == name) {
        return Err(wrong("name: every rule needs a name of its own"));
    }
    if text.roles.is_empty() || !are_names(&text.roles) {
        return Err(wrong("roles: name at least one role, each once"));
    }
    let is_known = |role: &String| rules.known_roles.contains(&(environment.clone(), role.clone()));
    if let Some(role) = text.roles.iter().find(|role| !is_known(role)) {
        return Err(Mistake::UnknownRole { role: role.clone(), what: what() });
    }
    if text.roles.iter().any(|role| own().any(|other| other.roles.contains(role))) {
        return Err(wrong("roles: a role is in one rule; another rule names it already"));
    }
    let is_for_operators = |(place, role): &&Placed<Role>| {
        *place == environment
            && text.roles.contains(&role.name)
            && role.scope.iter().any(operator_scopes::is_one)
    };
    if rules.roles.iter().any(|role| is_for_operators(&role)) {
        return Err(wrong(
            "roles: a role with edgepass:* scopes is needed to ask and to approve, so it needs none itself",
        ));
    }
    let lists = [&text.may_ask, &text.may_approve, &text.may_break_glass];
    if lists.iter().any(|list| !are_names(list) || !list.iter().all(|party| is_party(party))) {
        return Err(wrong(
            "may_ask, may_approve, may_break_glass: write \"subject:ada\", \"client:reports\", \"cli:ada\" \
             (on the issuer's machine) or \"role:on-call\", each once",
        ));
    }
    if text.may_approve.is_empty() || (text.may_ask.is_empty() && text.may_break_glass.is_empty()) {
        return Err(wrong("may_ask and may_approve: name somebody"));
    }
    let (approvals, denials) = (text.approvals.unwrap_or(1), text.denials.unwrap_or(1));
    if !(1..=10).contains(&approvals) || !(1..=10).contains(&denials) {
        return Err(wrong("approvals and denials are 1 to 10"));
    }
    // A role stands for any number of people.
    let people = text.may_approve.iter().filter(|party| !party.starts_with("role:")).count();
    let has_role = people < text.may_approve.len();
    if !has_role && (people as u64) < u64::from(approvals.max(denials)) {
        return Err(wrong("approvals, denials: may_approve names fewer parties than that"));
    }
    if [&text.reason, &text.ticket].into_iter().flatten().any(|pattern| whole(pattern).is_none()) {
        return Err(wrong("reason and ticket are regular expressions"));
    }
    let (longest, ahead) =
        (text.longest.0, text.start_within.map_or(Duration::ZERO, |text| text.0));
    if !(Duration::from_secs(1)..=LONGEST_ACCESS).contains(&longest) || ahead > LONGEST_ACCESS {
        return Err(wrong(
            "longest is at least \"1s\"; longest and start_within are at most \"30d\"",
        ));
    }
    if text.tell.len() > MAX_TOLD || !text.tell.iter().all(|address| is_address(address)) {
        return Err(wrong("tell: write at most 20 e-mail addresses"));
    }
    let (has_webhook, has_mail) = rules.channels;
    let is_told = has_webhook || (has_mail && !text.tell.is_empty());
    if (!text.tell.is_empty() && !has_mail) || (!text.may_break_glass.is_empty() && !is_told) {
        return Err(Mistake::NobodyTold(name));
    }
    let rule = ApprovalRule {
        name,
        roles: text.roles,
        may_ask: text.may_ask,
        may_approve: text.may_approve,
        may_break_glass: text.may_break_glass,
        approvals,
        denials,
        reason: text.reason,
        ticket: text.ticket,
        longest: longest.as_secs(),
        start_within: ahead.as_secs(),
        tell: text.tell,
    };
    Ok((environment, rule))
}

/// Whether a text may be an e-mail address. The mail server decides.
pub(super) fn is_address(text: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_graphic() && !"<>()[],;:\\\"".contains(char);
    let parts = text.split_once('@');
    text.len() <= 254
        && text.chars().all(is_plain)
        && parts.is_some_and(|(local, host)| {
            (1..=64).contains(&local.len()) && !host.is_empty() && !host.contains('@')
        })
}

/// Checks `[misuse]`.
pub(super) fn misuse(
    text: MisuseText,
    is_role: impl Fn(&str) -> bool,
    is_client: impl Fn(&str) -> bool,
    suspension: bool,
) -> Result<(Vec<Rule>, Brakes), Mistake> {
    let default = Brakes::default();
    let brakes = Brakes {
        acts_per_hour: text.acts_per_hour.unwrap_or(default.acts_per_hour),
        acts_per_hour_and_role: text
            .acts_per_hour_and_role
            .unwrap_or(default.acts_per_hour_and_role),
        never_roles: text.never_roles,
        never_clients: text.never_clients,
        dry_run: text.dry_run,
    };
    for (at, rule) in text.rules.iter().enumerate() {
        let wrong = |reason| Mistake::Misuse { rule: rule.name.clone(), reason };
        let is_taken = text.rules.iter().take(at).any(|other| other.name == rule.name);
        if !is_name(&rule.name) || rule.name.len() > 64 || is_taken {
            return Err(wrong("name: every rule needs a name of its own, of at most 64 bytes"));
        }
        if let Some(unknown) = rule.roles.iter().find(|role| !is_role(role)) {
            let what = format!("misuse rule {}", rule.name);
            return Err(Mistake::UnknownRole { role: unknown.clone(), what });
        }
        if rule.action == Action::Suspend && !suspension {
            return Err(wrong("action: \"suspend\" needs [status] suspension = true"));
        }
        if let Some(mistake) = rule.mistake() {
            return Err(wrong(mistake));
        }
    }
    for rule in &text.rules {
        let is_wide = rule.action == Action::RevokeClient;
        let spares = !brakes.never_roles.is_empty() || !rule.roles.is_empty();
        if is_wide && spares {
            let reason = "action: \"revoke_client\" revokes tokens of all roles: leave roles and never_roles out";
            return Err(Mistake::Misuse { rule: rule.name.clone(), reason });
        }
    }
    if let Some(unknown) = brakes.never_clients.iter().find(|client| !is_client(client)) {
        let reason = "never_clients: there is no such client";
        return Err(Mistake::Misuse { rule: unknown.clone(), reason });
    }
    if let Some(unknown) = brakes.never_roles.iter().find(|role| !is_role(role)) {
        let what = "misuse never_roles".to_owned();
        return Err(Mistake::UnknownRole { role: unknown.clone(), what });
    }
    Ok((text.rules, brakes))
}

/// The one way in which a client authenticates.
fn authentication(id: &str, text: &ClientText) -> Result<Authentication, Mistake> {
    let hash = |text: &str| {
        let wrong = |source| Mistake::SecretHash { client: id.to_owned(), source };
        SecretHash::parse(text).map_err(wrong)
    };
    match (&text.secret_hash, &text.secrets, &text.jwks, &text.certificates) {
        (Some(one), None, None, None) => {
            let secret = DatedSecret { hash: hash(one)?, from: None, until: None };
            Ok(Authentication::Secrets(vec![secret]))
        }
        (None, Some(secrets), None, None) => {
            if secrets.is_empty() || secrets.len() > 2 {
                return Err(Mistake::ClientSecrets(id.to_owned()));
            }
            let dated = |secret: &SecretText| {
                let date = |date: &Option<Datetime>, bound| {
                    let wrong = || Mistake::ClientSecrets(id.to_owned());
                    date.as_ref().map(|date| instant(date, bound).ok_or_else(wrong)).transpose()
                };
                let (from, until) =
                    (date(&secret.from, Bound::First)?, date(&secret.until, Bound::Last)?);
                if from.zip(until).is_some_and(|(from, until)| from >= until) {
                    return Err(Mistake::ClientSecrets(id.to_owned()));
                }
                Ok(DatedSecret { hash: hash(&secret.hash)?, from, until })
            };
            secrets.iter().map(dated).collect::<Result<_, _>>().map(Authentication::Secrets)
        }
        (None, None, Some(jwks), None) => {
            let wrong = |source| Mistake::ClientKeys { client: id.to_owned(), source };
            ClientKeys::parse(jwks).map(Authentication::Keys).map_err(wrong)
        }
        (None, None, None, Some(certificates)) => {
            let wrong = || Mistake::ClientCertificates(id.to_owned());
            // As tools print it, or with colons between the octets.
            let thumbprint = |text: &String| {
                let found = CertificateThumbprint::from_hex(&text.replace(':', ""));
                found.map(|thumbprint| thumbprint.as_str().to_owned())
            };
            let digests: Option<Vec<String>> = certificates.iter().map(thumbprint).collect();
            let digests = digests.filter(|digests| !digests.is_empty()).ok_or_else(wrong)?;
            Ok(Authentication::Certificates(digests))
        }
        _ => Err(Mistake::ClientAuthentication(id.to_owned())),
    }
}

/// Whether a text may be the `client_id` of somebody else than the issuer's own commands.
fn is_client_id(id: &str) -> bool {
    // RFC 6749 appendix A.1: VSCHAR, here without space and colon. A colon would end the user name
    // of HTTP Basic.
    let is_plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b':';
    (1..=MAX_CLIENT_ID).contains(&id.len())
        && id.bytes().all(is_plain)
        && !OWN_CLIENTS.contains(&id)
}

/// Whether a text is a name for people: not empty, at most 1,024 bytes long, without control
/// characters and without white space at its ends.
fn is_name(text: &str) -> bool {
    (1..=1024).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(|char| char.is_control())
}

/// Whether each text is a name, and none comes twice.
fn are_names(texts: &[String]) -> bool {
    let mut seen = HashSet::new();
    texts.iter().all(|text| is_name(text) && seen.insert(text))
}
