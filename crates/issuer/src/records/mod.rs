//! The record of processing activities (Art. 30 GDPR), as far as the configuration and the storage tell it.
//!
//! Every field is known, unknown with a reason, or not applicable with a reason. What only a person can know is
//! never guessed.

mod measures;

use std::collections::BTreeSet;

use edgepass_verify::checks::purpose::Region;
use serde::{Deserialize, Serialize};

pub(crate) use self::measures::of as measures_of;
pub use self::measures::{Issued, Measure, Measured, Source};
use crate::config::Config;
use crate::policy::agreement::Agreement;
use crate::policy::catalogue::CataloguedScope;
use crate::policy::{IssuerPolicy, Role};

/// A party to agreements.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Party {
    /// Its name, as agreements write it.
    pub name: String,
    /// What it is.
    pub kind: PartyKind,
    /// How to reach it: postal or e-mail address.
    pub contact: Option<String>,
    /// Its representative in the Union (Art. 27), with contact.
    pub representative: Option<String>,
    /// Its data protection officer (Art. 37), with contact.
    pub dpo: Option<String>,
    /// The country in which it is established.
    pub country: Option<String>,
}

/// What a party is (Art. 4(7) and (8), Art. 26 GDPR).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartyKind {
    /// It determines purposes and means.
    Controller,
    /// It determines them together with others.
    JointController,
    /// It processes on behalf of a controller.
    Processor,
}

/// A field of a record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What is known, an item each.
    Known(Vec<String>),
    /// Why it is not known, and who can tell.
    Unknown(String),
    /// Why there is nothing to say.
    NotApplicable(String),
}

impl Field {
    /// The items, or why there are none.
    fn of(items: impl IntoIterator<Item = String>, missing: &str) -> Self {
        let items: Vec<String> = items.into_iter().collect();
        if items.is_empty() { Self::Unknown(missing.to_owned()) } else { Self::Known(items) }
    }
}

/// A field with its place in Art. 30.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Paragraph and letter, such as `30(1)(b)`.
    pub article: &'static str,
    /// What the field is about.
    pub title: &'static str,
    /// The property of DPV 2.3.
    pub dpv: &'static str,
    /// What is known of it.
    pub field: Field,
}

/// A processing activity: an agreement with the roles that are used under it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Activity {
    /// `id` of the agreement.
    pub agreement: String,
    /// The roles, each with its environment.
    pub roles: Vec<String>,
    /// The fields in the order of the article.
    pub entries: Vec<Entry>,
}

/// The record of a party: as controller by Art. 30(1), or as processor by Art. 30(2).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Record {
    /// The party's name.
    pub party: String,
    /// `30(1)` or `30(2)`.
    pub paragraph: &'static str,
    /// Who it is.
    pub entries: Vec<Entry>,
    /// What it does.
    pub activities: Vec<Activity>,
    /// Technical and organisational measures (Art. 32(1)).
    pub measures: Vec<Measure>,
}

/// The records of the parties of the agreements. With `controller`, only that one and the processors with which it
/// has agreements.
pub fn records(
    environments: &[Config],
    measured: &[Measured],
    controller: Option<&str>,
) -> Vec<Record> {
    let book = Book { environments, measured };
    let agreements = book.agreements();
    let concerns = |agreement: &Agreement| {
        controller.is_none_or(|name| agreement.parties.iter().any(|party| party == name))
    };
    let mut found = Vec::new();
    for name in book.names() {
        let of: Vec<&Agreement> = agreements
            .iter()
            .copied()
            .filter(|one| concerns(one) && one.parties.contains(&name))
            .collect();
        let party = book.party(&name);
        let is_processor = party.is_some_and(|party| party.kind == PartyKind::Processor);
        let is_wanted = is_processor || controller.is_none_or(|controller| controller == name);
        if is_wanted && !of.is_empty() {
            found.push(book.record(&name, party, is_processor, &of));
        }
    }
    found
}

/// What records are made from.
struct Book<'c> {
    environments: &'c [Config],
    measured: &'c [Measured],
}

impl<'c> Book<'c> {
    /// The agreements of all environments, each once, by their id.
    fn agreements(&self) -> Vec<&'c Agreement> {
        let mut all: Vec<&Agreement> =
            self.environments.iter().flat_map(|config| &config.policy.agreements).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.dedup_by(|one, other| one.id == other.id);
        all
    }

    /// The names of all parties of agreements, in order.
    fn names(&self) -> BTreeSet<String> {
        self.agreements().into_iter().flat_map(|one| one.parties.clone()).collect()
    }

    fn party(&self, name: &str) -> Option<&'c Party> {
        self.environments.first()?.parties.iter().find(|party| party.name == name)
    }

    fn record(
        &self,
        name: &str,
        party: Option<&Party>,
        is_processor: bool,
        agreements: &[&Agreement],
    ) -> Record {
        let (paragraph, article) =
            if is_processor { ("30(2)", "30(2)(a)") } else { ("30(1)", "30(1)(a)") };
        let told = |value: Option<&String>, missing: &str| match value {
            Some(text) => Field::Known(vec![text.clone()]),
            None => Field::Unknown(missing.to_owned()),
        };
        let entry = |title, dpv, field| Entry { article, title, dpv, field };
        let mut entries = vec![
            entry("Name", "dpv:hasName", Field::Known(vec![name.to_owned()])),
            entry(
                "Contact",
                "dpv:hasContact",
                told(party.and_then(|it| it.contact.as_ref()), "write contact in [[party]]"),
            ),
            entry(
                "Data protection officer",
                "dpv:hasDataProtectionOfficer",
                officer(
                    party.and_then(|it| it.dpo.as_ref()),
                    "write dpo in [[party]], or \"none\" with the reason why Art. 37 needs none",
                ),
            ),
            entry("Representative", "dpv:hasRepresentative", representative(party)),
        ];
        let of_kind = |wanted: &dyn Fn(PartyKind) -> bool| -> Vec<String> {
            let names: BTreeSet<&String> = agreements.iter().flat_map(|one| &one.parties).collect();
            let is_it = |other: &&&String| {
                other.as_str() != name && self.party(other).is_some_and(|party| wanted(party.kind))
            };
            names.iter().filter(is_it).map(|other| (*other).clone()).collect()
        };
        if is_processor {
            let controllers = of_kind(&|kind| kind != PartyKind::Processor);
            entries.push(entry(
                "Controllers on whose behalf it acts",
                "dpv:hasDataController",
                Field::of(controllers, "no [[party]] of its agreements is a controller"),
            ));
        } else {
            let is_joint = party.is_some_and(|party| party.kind == PartyKind::JointController);
            let joint = of_kind(&|kind| {
                kind == PartyKind::JointController || (is_joint && kind == PartyKind::Controller)
            });
            let none = "no [[party]] of its agreements is a joint controller".to_owned();
            entries.push(entry(
                "Joint controllers",
                "dpv:hasJointDataControllers",
                if joint.is_empty() { Field::NotApplicable(none) } else { Field::Known(joint) },
            ));
            if party.is_none() {
                let why = "write a [[party]] that says whether it is a controller or a processor";
                entries.push(entry(
                    "Part",
                    "dpv:hasDataController",
                    Field::Unknown(why.to_owned()),
                ));
            }
        }
        let activities = agreements.iter().map(|one| self.activity(one, is_processor)).collect();
        let roles = agreements.iter().flat_map(|one| self.roles(one)).collect::<Vec<_>>();
        let measures = measures::of(&roles, self.measured);
        Record { party: name.to_owned(), paragraph, entries, activities, measures }
    }

    /// The roles that are used under an agreement, with the configuration of their environment.
    fn roles(&self, agreement: &Agreement) -> Vec<(&'c Config, &'c Role)> {
        let of = |config: &'c Config| {
            let roles = config.policy.roles.iter();
            let roles = roles.filter(|role| role.agreement.as_ref() == Some(&agreement.id));
            roles.map(move |role| (config, role))
        };
        self.environments.iter().flat_map(of).collect()
    }

    fn activity(&self, agreement: &Agreement, is_processor: bool) -> Activity {
        let roles = self.roles(agreement);
        let scopes: Vec<&CataloguedScope> =
            roles.iter().flat_map(|(config, role)| catalogued(&config.policy, role)).collect();
        let personal = || scopes.iter().filter(|scope| scope.personal);
        let set = |of: &dyn Fn(&CataloguedScope) -> Vec<String>| -> Vec<String> {
            personal().flat_map(|scope| of(scope)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let entry = |article, title, dpv, field| Entry { article, title, dpv, field };
        let purposes = Field::Known(agreement.purposes.clone());
        let transfers = transfers(agreement);
        let catalogue = "no [[scope]] of its roles says so";
        let entries = if is_processor {
            let categories = set(&|scope| vec![scope.description.clone()]);
            vec![
                entry(
                    "30(2)(b)",
                    "Categories of processing",
                    "dpv:hasProcessing",
                    Field::of(categories, catalogue),
                ),
                entry("30(2)(b)", "Purposes of the controller", "dpv:hasPurpose", purposes),
                entry("30(2)(c)", "Transfers to third countries", "dpv:hasThirdCountry", transfers),
            ]
        } else {
            let clients: BTreeSet<String> =
                roles.iter().flat_map(|(config, role)| clients(&config.policy, role)).collect();
            let recipients = agreement.recipients.iter().cloned().chain(clients);
            let retention = agreement.retention.map(|seconds| {
                let days = seconds / (24 * 60 * 60);
                vec![format!("{days} days, by the agreement")]
            });
            vec![
                entry("30(1)(b)", "Purposes", "dpv:hasPurpose", purposes),
                entry(
                    "30(1)(c)",
                    "Categories of data subjects",
                    "dpv:hasDataSubject",
                    Field::of(set(&|scope| scope.subjects.clone()), catalogue),
                ),
                entry(
                    "30(1)(c)",
                    "Categories of personal data",
                    "dpv:hasPersonalData",
                    Field::of(set(&|scope| scope.data.clone()), catalogue),
                ),
                entry(
                    "30(1)(d)",
                    "Recipients",
                    "dpv:hasRecipient",
                    Field::of(recipients, "the agreement names no recipients"),
                ),
                entry("30(1)(e)", "Transfers to third countries", "dpv:hasThirdCountry", transfers),
                entry(
                    "30(1)(f)",
                    "Time limits for erasure",
                    "dpv:hasStorageCondition",
                    retention.map_or_else(
                        || Field::Unknown("write retention in the agreement".to_owned()),
                        Field::Known,
                    ),
                ),
            ]
        };
        let place = |(config, role): &(&Config, &Role)| match &config.environment {
            None => role.name.clone(),
            Some(environment) => format!("{environment}: {}", role.name),
        };
        let roles = roles.iter().map(place).collect();
        Activity { agreement: agreement.id.clone(), roles, entries }
    }
}

/// What is told of a data protection officer.
fn officer(value: Option<&String>, missing: &str) -> Field {
    match value {
        None => Field::Unknown(missing.to_owned()),
        Some(text) if text == "none" || text.starts_with("none:") => {
            Field::NotApplicable(text.clone())
        }
        Some(text) => Field::Known(vec![text.clone()]),
    }
}

fn representative(party: Option<&Party>) -> Field {
    let Some(party) = party else {
        return Field::Unknown("write a [[party]] with its country".to_owned());
    };
    if let Some(text) = &party.representative {
        return Field::Known(vec![text.clone()]);
    }
    match party.country.as_deref().and_then(Region::parse) {
        Some(Region::Country(country)) if Region::Eea.has(country) => {
            Field::NotApplicable("it is established in the EEA".to_owned())
        }
        Some(_) => {
            Field::Unknown("it is outside of the EEA: write representative in [[party]]".to_owned())
        }
        None => Field::Unknown("write country in [[party]]".to_owned()),
    }
}

/// The scopes of a role that the catalogue has.
fn catalogued<'c>(
    policy: &'c IssuerPolicy,
    role: &'c Role,
) -> impl Iterator<Item = &'c CataloguedScope> {
    policy.catalogue.iter().filter(|scope| role.scope.contains(&scope.name))
}

/// Who obtains tokens of a role.
fn clients<'c>(policy: &'c IssuerPolicy, role: &'c Role) -> impl Iterator<Item = String> + 'c {
    let clients = policy.clients.iter().filter(|client| client.roles.contains(&role.name));
    let federations = policy.federations.iter().filter(|rule| rule.role == role.name);
    clients
        .map(|client| format!("client {}", client.id))
        .chain(federations.map(|rule| format!("federation {}", rule.name)))
}

/// The regions of an agreement outside of the EEA, with their safeguards.
fn transfers(agreement: &Agreement) -> Field {
    if agreement.regions.is_empty() {
        return Field::Unknown("write regions in the agreement".to_owned());
    }
    let is_inside = |region: &str| match Region::parse(region) {
        Some(Region::Country(country)) => Region::Eea.has(country),
        other => other.is_some(),
    };
    let outside: Vec<&String> =
        agreement.regions.iter().filter(|region| !is_inside(region)).collect();
    let told = outside.iter().map(|region| match agreement.safeguards.get(*region) {
        Some(safeguard) => format!("{region}: {safeguard}"),
        None => format!("{region}: safeguards unknown, write safeguards in the agreement"),
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        Field::NotApplicable("every region of the agreement is in the EEA".to_owned())
    } else if outside.iter().all(|region| agreement.safeguards.contains_key(*region)) {
        Field::Known(told)
    } else {
        Field::Unknown(told.join("; "))
    }
}
