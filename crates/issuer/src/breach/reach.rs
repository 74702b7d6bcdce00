//! What tokens could reach, by the catalogue and agreements of the policy in use and by the routes of guards.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::facts::Looked;
use super::{Concerns, GuardedRoute, Incident};
use crate::policy::IssuerPolicy;
use crate::policy::agreement::Agreement;
use crate::token_facts::TokenFacts;

/// What tokens of a role could reach.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reach {
    /// The role.
    pub role: String,
    /// The number of tokens.
    pub tokens: u64,
    /// Audiences of the tokens.
    pub audiences: Vec<String>,
    /// Scope tokens of the tokens.
    pub scopes: Vec<ScopeReach>,
    /// The agreement, with what it says.
    pub agreement: Option<AgreementReach>,
    /// Routes that take the tokens. `None`: no policy of a guard was named.
    pub routes: Option<Vec<RouteReach>>,
}

/// What a scope token gives access to, by the catalogue of the policy in use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ScopeReach {
    /// The scope token.
    pub name: String,
    /// What it allows. `None`: the catalogue does not have it.
    pub description: Option<String>,
    /// Categories of data.
    pub data: Vec<String>,
    /// Categories of data subjects.
    pub subjects: Vec<String>,
    /// Whether these are personal data.
    pub personal: Option<bool>,
}

/// What an agreement says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AgreementReach {
    /// Its `id`.
    pub id: String,
    /// Its parties. Empty: the policy does not have the agreement any more.
    pub parties: Vec<String>,
    /// Its purposes.
    pub purposes: Vec<String>,
    /// Its regions.
    pub regions: Vec<String>,
}

/// A route that takes the tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RouteReach {
    /// Methods and path.
    pub name: String,
    /// What it masks, in words.
    pub masks: Vec<String>,
}

/// What tokens of each role could reach.
pub(super) fn reach(policy: &IssuerPolicy, incident: &Incident, looked: &[Looked]) -> Vec<Reach> {
    let mut roles: BTreeMap<&str, Vec<&TokenFacts>> = BTreeMap::new();
    for one in looked {
        roles.entry(one.facts.role.as_str()).or_default().push(&one.facts);
    }
    // A role that was named and has no token is told as well.
    if let Concerns::Role(name) = &incident.concerns {
        roles.entry(name).or_default();
    }
    let one = |(role, tokens): (&str, Vec<&TokenFacts>)| {
        let set = |of: &dyn Fn(&TokenFacts) -> Vec<String>| -> Vec<String> {
            let all: BTreeSet<String> = tokens.iter().flat_map(|one| of(one)).collect();
            all.into_iter().collect()
        };
        let audiences = set(&|one| vec![one.audience.clone()]);
        let scopes = set(&|one| one.scope.split_whitespace().map(str::to_owned).collect());
        let agreement = tokens.iter().rev().find_map(|one| one.agreement.as_deref());
        let found = agreement.and_then(|id| policy.agreement(id));
        let takes = |route: &&GuardedRoute| is_taken(route, &scopes, &audiences, found);
        let routes = incident.routes.as_ref().map(|routes| {
            let taken = routes.iter().filter(takes);
            let one = |route: &GuardedRoute| RouteReach {
                name: route.name.clone(),
                masks: route.masks.clone(),
            };
            taken.map(one).collect()
        });
        Reach {
            role: role.to_owned(),
            tokens: u64::try_from(tokens.len()).unwrap_or(u64::MAX),
            scopes: scopes.iter().map(|name| scope_reach(policy, name)).collect(),
            audiences,
            agreement: agreement.map(|id| AgreementReach {
                id: id.to_owned(),
                parties: found.map(|one| one.parties.clone()).unwrap_or_default(),
                purposes: found.map(|one| one.purposes.clone()).unwrap_or_default(),
                regions: found.map(|one| one.regions.clone()).unwrap_or_default(),
            }),
            routes,
        }
    };
    roles.into_iter().map(one).collect()
}

fn scope_reach(policy: &IssuerPolicy, name: &str) -> ScopeReach {
    let found = policy.catalogue.iter().find(|one| one.name == name);
    ScopeReach {
        name: name.to_owned(),
        description: found.map(|one| one.description.clone()),
        data: found.map(|one| one.data.clone()).unwrap_or_default(),
        subjects: found.map(|one| one.subjects.clone()).unwrap_or_default(),
        personal: found.map(|one| one.personal),
    }
}

/// Whether a route takes tokens with these scope tokens, audiences and agreement.
fn is_taken(
    route: &GuardedRoute,
    scopes: &[String],
    audiences: &[String],
    agreement: Option<&Agreement>,
) -> bool {
    let any = |wanted: &[String], own: &[String]| {
        wanted.is_empty() || wanted.iter().any(|one| own.contains(one))
    };
    let purposes = agreement.map(|one| one.purposes.as_slice()).unwrap_or_default();
    let data = agreement.map(|one| one.data.as_slice()).unwrap_or_default();
    !route.public
        && any(&route.audiences, audiences)
        && route.all_of.iter().all(|one| scopes.contains(one))
        && any(&route.any_of, scopes)
        && any(&route.purposes, purposes)
        && route.data.iter().all(|one| data.contains(one))
}
