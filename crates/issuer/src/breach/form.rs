//! The fields of the report: filled as far as facts and people's answers go.

use std::collections::BTreeSet;

use edgepass_verify::checks::purpose::Region;

use super::facts::Facts;
use super::fields::{Field, Kind, without_value};
use super::reach::ScopeReach;
use super::report::{Clock, Filled, FilledSource, FilledState, stopped, utc};
use super::uses::{Confidentiality, Seen};
use super::{Concerns, Incident};
use crate::config::Config;
use crate::policy::Role;
use crate::policy::version::LivePolicy;
use crate::records::{self, Measured, Party, PartyKind};

/// What fields are filled from.
pub(super) struct Form<'i> {
    pub(super) incident: &'i Incident,
    pub(super) facts: &'i Facts,
    pub(super) config: &'i Config,
    pub(super) policy: &'i LivePolicy,
    pub(super) clock: Clock,
    pub(super) now_ms: u64,
}

impl<'i> Form<'i> {
    fn filled(
        field: &Field,
        state: FilledState,
        value: impl IntoIterator<Item = String>,
        source: FilledSource,
    ) -> Filled {
        Filled {
            name: field.name.to_owned(),
            title: field.title.to_owned(),
            state,
            value: value.into_iter().collect(),
            source,
            choices: field.choices().filter(|_| state == FilledState::Open),
        }
    }

    pub(super) fn known(
        field: &Field,
        value: impl IntoIterator<Item = String>,
        source: FilledSource,
    ) -> Filled {
        Self::filled(field, FilledState::Known, value, source)
    }

    fn open(field: &Field, hint: &str) -> Filled {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Self::filled(field, FilledState::Open, hint, FilledSource::Nowhere)
    }

    fn none(field: &Field, why: &str) -> Filled {
        Self::filled(field, FilledState::NotApplicable, [why.to_owned()], FilledSource::Calculated)
    }

    fn unknown(field: &Field, why: String) -> Filled {
        Self::filled(field, FilledState::Unknown, [why], FilledSource::Nowhere)
    }

    fn answer(&self, name: &str) -> Option<&'i str> {
        self.incident.answers.get(name).map(|note| note.text.as_str())
    }

    /// The field, by a person's answer or else by what is known.
    pub(super) fn fill(&self, field: &Field) -> Filled {
        if let Some((is_unknown, why)) = self.answer(field.name).and_then(without_value) {
            let state = match is_unknown {
                true => FilledState::Unknown,
                false => FilledState::NotApplicable,
            };
            return Self::filled(field, state, [why.to_owned()], FilledSource::Person);
        }
        if let Some(answer) = self.answer(field.name) {
            let mut value: Vec<String> = answer.split('\n').map(str::to_owned).collect();
            if field.name == "confidentiality" {
                let uses = &self.facts.uses;
                value.push(format!(
                    "by reported use: {} ({})",
                    uses.confidentiality.name(),
                    uses.why
                ));
            }
            return Self::known(field, value, FilledSource::Person);
        }
        let found = self
            .notification(field)
            .or_else(|| self.party(field))
            .or_else(|| self.timeline(field))
            .or_else(|| self.nature(field))
            .or_else(|| self.measures(field))
            .or_else(|| self.communication(field));
        found.unwrap_or_else(|| match field.optional {
            true => Self::none(field, "optional, and nobody answered it"),
            false => Self::open(field, ""),
        })
    }

    fn notification(&self, field: &Field) -> Option<Filled> {
        let is_new = self.incident.phases.is_empty();
        let calculated =
            |text: &str| Self::known(field, [text.to_owned()], FilledSource::Calculated);
        Some(match field.name {
            "notification" => calculated(if is_new { "new" } else { "follow_up" }),
            // Decided once all others are filled.
            "state" => calculated("incomplete"),
            "withdrawal_reasons" if self.answer("state") == Some("withdraw") => {
                Self::open(field, "")
            }
            "withdrawal_reasons" => Self::none(field, "the notification is not withdrawn"),
            "earlier_id" if is_new => Self::none(field, "it is the first notification"),
            "reference" => calculated(&self.incident.id),
            "attachments" => calculated(
                "the form in JSON, with proofs of each named entry of the audit trail: `edgepass breach verify`",
            ),
            _ => return None,
        })
    }

    /// The parties of the agreements under which the tokens were issued.
    fn parties(&self) -> Vec<&'i Party> {
        let agreements = self.facts.reach.iter().filter_map(|one| one.agreement.as_ref());
        let names: BTreeSet<&String> = agreements.flat_map(|one| &one.parties).collect();
        self.config.parties.iter().filter(|party| names.contains(&party.name)).collect()
    }

    fn party(&self, field: &Field) -> Option<Filled> {
        let parties = self.parties();
        let controllers: Vec<&&Party> =
            parties.iter().filter(|party| party.kind != PartyKind::Processor).collect();
        let of = |told: &dyn Fn(&Party) -> Option<String>, hint: &str| {
            let all: Vec<String> = controllers.iter().filter_map(|party| told(party)).collect();
            match all.len() == controllers.len() && !all.is_empty() {
                true => Self::known(field, all, FilledSource::Configuration),
                false => Self::open(field, hint),
            }
        };
        Some(match field.name {
            "controller" => of(
                &|party| Some(party.name.clone()),
                "the role has no agreement whose parties [[party]] describes",
            ),
            "controller_contact" => of(&|party| party.contact.clone(), "contact of [[party]]"),
            "dpo" => of(&|party| party.dpo.clone(), "dpo of [[party]]"),
            "organisation" if self.answer("sector") == Some("public") => {
                Self::none(field, "only for the private sector")
            }
            "representative" => {
                let is_inside = |party: &&&Party| -> bool {
                    let region = party.country.as_deref().and_then(Region::parse);
                    matches!(region, Some(Region::Country(country)) if Region::Eea.has(country))
                };
                match !controllers.is_empty() && controllers.iter().all(is_inside) {
                    true => Self::none(field, "the controller is established in the EEA"),
                    false => of(
                        &|party| party.representative.clone(),
                        "representative and country of [[party]]",
                    ),
                }
            }
            "other_parties" => {
                let others: Vec<String> = parties
                    .iter()
                    .filter(|party| party.kind != PartyKind::Controller)
                    .map(|party| {
                        let kind = match party.kind {
                            PartyKind::Processor => "processor",
                            _ => "joint controller",
                        };
                        let contact = party.contact.as_deref().unwrap_or("contact unknown");
                        format!("{} ({kind}): {contact}", party.name)
                    })
                    .collect();
                match others.is_empty() {
                    true => Self::open(field, "no [[party]] of the agreements is a processor"),
                    false => Self::known(field, others, FilledSource::Configuration),
                }
            }
            _ => return None,
        })
    }

    /// Whether the incident is about tokens that are named.
    fn names_tokens(&self) -> bool {
        matches!(self.incident.concerns, Concerns::Tokens(_))
    }

    /// Whether it is known that nobody can use the credential any more.
    fn has_ended(&self) -> bool {
        let Facts { stop, .. } = self.facts;
        let has_stopped = stop.live == 0 && stop.unpublished == 0 && stop.at_ms <= self.now_ms;
        self.names_tokens() && has_stopped && self.facts.all_looked_at && self.facts.count > 0
    }

    /// When the tokens stopped working, in words.
    fn stopped(&self) -> String {
        stopped(self.facts, self.now_ms)
    }

    fn timeline(&self, field: &Field) -> Option<Filled> {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        let Facts { stop, .. } = self.facts;
        let leaked = self.incident.leaked_ms;
        let one = |text: String, source| Self::known(field, [text], source);
        Some(match field.name {
            "occurrence" => {
                let value = match leaked {
                    None => "cannot_be_determined",
                    Some(_) if !self.has_ended() => "ongoing",
                    Some(leaked) if leaked / DAY_MS == stop.at_ms / DAY_MS => "specific_day",
                    Some(_) => "date_range",
                };
                one(value.to_owned(), FilledSource::Calculated)
            }
            "began" => match (leaked, self.facts.tokens.iter().map(|one| one.issued_ms).min()) {
                (Some(leaked), _) => one(utc(leaked), FilledSource::Person),
                (None, Some(first)) => Self::unknown(
                    field,
                    format!("nobody said when the credential leaked; not before {}", utc(first)),
                ),
                (None, None) => Self::unknown(field, "no token is known".to_owned()),
            },
            "ended" if self.facts.count == 0 && self.names_tokens() => {
                Self::unknown(field, "no token is known".to_owned())
            }
            "ended" if stop.live > 0 => Self::unknown(
                field,
                format!(
                    "it has not ended: {} of the tokens are neither revoked nor expired (`edgepass revoke`)",
                    stop.live
                ),
            ),
            "ended" if stop.unpublished > 0 => Self::unknown(
                field,
                "it has not ended: a revocation is recorded, and not published everywhere (`edgepass serve` publishes it)".to_owned(),
            ),
            "ended" if !self.facts.all_looked_at => {
                Self::unknown(field, "there are more tokens than are looked at".to_owned())
            }
            // Whether a client's credential was replaced is not known here.
            "ended" if !self.names_tokens() => Self::open(
                field,
                &format!("tokens so far: {}; when was the credential replaced?", self.stopped()),
            ),
            "ended" if stop.at_ms > self.now_ms => {
                Self::unknown(field, format!("it ends at the latest at {}", utc(stop.at_ms)))
            }
            "ended" => one(utc(stop.at_ms), FilledSource::Trail),
            "aware" => one(utc(self.clock.aware_ms), FilledSource::Person),
            "late_reasons" if self.clock.is_late => Self::open(field, ""),
            "late_reasons" => Self::none(field, "the report is not late"),
            "discovery" => match self.facts.reported.first() {
                Some((channel, _)) if channel != "possession" => Self::known(
                    field,
                    ["external_party".to_owned(), format!("a report came: {channel}")],
                    FilledSource::Trail,
                ),
                Some(_) => Self::open(field, "somebody who held the token reported it"),
                None => Self::open(field, ""),
            },
            "told_at" => match (self.answer("discovery"), self.facts.reported.first()) {
                (Some("controller"), _) => Self::none(field, "the controller found it"),
                (_, Some((_, at_ms))) => one(utc(*at_ms), FilledSource::Trail),
                _ => Self::open(field, ""),
            },
            _ => return None,
        })
    }

    fn nature(&self, field: &Field) -> Option<Filled> {
        let Facts { uses, reach, .. } = self.facts;
        let nature = self.answer("nature");
        let set = |of: &dyn Fn(&ScopeReach) -> &Vec<String>| -> Vec<String> {
            let scopes = reach.iter().flat_map(|one| &one.scopes);
            let personal = scopes.filter(|scope| scope.personal != Some(false));
            let all: BTreeSet<&String> = personal.flat_map(of).collect();
            all.into_iter().cloned().collect()
        };
        Some(match field.name {
            "confidentiality" => {
                let value = [uses.confidentiality.name().to_owned(), uses.why.clone()];
                Self::known(field, value, FilledSource::Usage)
            }
            "nature" => {
                let hint = match uses.confidentiality {
                    Confidentiality::NotExfiltrated => "",
                    _ => "confidentiality, unless nothing was read; integrity, if it may write",
                };
                Self::open(field, hint)
            }
            "integrity" | "availability"
                if nature.is_some_and(|nature| !nature.contains(field.name)) =>
            {
                Self::none(field, "the breach is not of this nature")
            }
            "description" => Self::known(field, self.description(), FilledSource::Trail),
            "systems" => {
                let audiences: BTreeSet<&String> =
                    reach.iter().flat_map(|one| &one.audiences).collect();
                let routes = reach.iter().filter_map(|one| one.routes.as_ref()).flatten();
                let routes: BTreeSet<String> =
                    routes.map(|route| format!("route {}", route.name)).collect();
                let audiences = audiences.into_iter().map(|audience| format!("API {audience}"));
                let all: Vec<String> = audiences.chain(routes).collect();
                match all.is_empty() {
                    true => Self::open(field, ""),
                    false => Self::known(field, all, FilledSource::Trail),
                }
            }
            "subjects" => Self::categories(field, set(&|scope| &scope.subjects)),
            "data" => Self::categories(field, set(&|scope| &scope.data)),
            "records_number" => Self::open(
                field,
                &format!(
                    "accepted requests after the leak, as reported: at least {}, at most {}; how many records each read is known to the API alone",
                    uses.after.0, uses.after.1
                ),
            ),
            "countries_of_use" => {
                let is_it =
                    |one: &&Seen| one.name.is_empty() || uses.accepted_from.contains(&one.name);
                let name = |one: &Seen| match one.name.as_str() {
                    "" => "and others".to_owned(),
                    name => name.to_owned(),
                };
                let names: Vec<String> = uses.countries.iter().filter(is_it).map(name).collect();
                match names.is_empty() {
                    true => Self::unknown(field, "no guard has reported a country".to_owned()),
                    false => Self::known(field, names, FilledSource::Usage),
                }
            }
            _ => return None,
        })
    }

    /// Categories by the catalogue, where they are those of the field.
    fn categories(field: &Field, own: Vec<String>) -> Filled {
        let values = match field.kind {
            Kind::Some(values) => values,
            _ => &[],
        };
        let all_fit = own.iter().all(|one| values.contains(&one.as_str()));
        match (own.is_empty(), all_fit) {
            (true, _) => Self::open(field, "no [[scope]] of the catalogue says so"),
            (false, true) => Self::known(field, [own.join(", ")], FilledSource::Configuration),
            (false, false) => Self::open(field, &format!("the catalogue says: {}", own.join(", "))),
        }
    }

    /// What happened, in sentences.
    fn description(&self) -> Vec<String> {
        let Facts { count, uses, stop, subjects, .. } = self.facts;
        let what = match &self.incident.concerns {
            Concerns::Tokens(_) => "the named tokens and those exchanged for them".to_owned(),
            Concerns::Client(name) => format!("tokens of the client {name}"),
            Concerns::Role(name) => format!("tokens of the role {name}"),
        };
        let mut lines = vec![self.incident.reason.clone()];
        lines.push(format!("Concerned: {what}. Tokens: {count}. Subjects of tokens: {subjects}."));
        lines.push(match uses.last_ms {
            Some(last) => format!(
                "Guards reported {} accepted and {} refused requests; the last accepted one at {}.",
                uses.accepted,
                uses.refused,
                utc(last)
            ),
            None => {
                format!("Guards reported no accepted request, and {} refused ones.", uses.refused)
            }
        });
        lines.push(match uses.complete_since_ms {
            Some(since) => format!("No report of use is known to be missing since {}.", utc(since)),
            None => "Whether reports of use are complete is not known.".to_owned(),
        });
        if uses.unrecorded > 0 {
            lines.push(format!(
                "The use of {} of the tokens is not known: their records are gone.",
                uses.unrecorded
            ));
        }
        if self.facts.restored {
            lines.push(
                "The database was restored from a backup meanwhile: entries are lost.".to_owned(),
            );
        }
        if self.facts.damaged > 0 {
            lines
                .push(format!("{} entries of the audit trail cannot be read.", self.facts.damaged));
        }
        lines.push(format!("Tokens: {}.", self.stopped()));
        let had_stopped = self.incident.leaked_ms.is_some_and(|leaked| leaked >= stop.at_ms);
        if had_stopped && self.has_ended() {
            lines.push("They had stopped working before the leak.".to_owned());
        }
        lines
    }

    fn measures(&self, field: &Field) -> Option<Filled> {
        Some(match field.name {
            "measures_before" => {
                let routes = self.facts.reach.iter().filter_map(|one| one.routes.as_ref());
                let masks = routes.flatten().any(|route| !route.masks.is_empty());
                let masks = if masks { "pseudonymisation, " } else { "" };
                Self::open(
                    field,
                    &format!(
                        "known here: {masks}incident_log, access_levels, logical_access_control; add what else there was"
                    ),
                )
            }
            "measures_before_description" => {
                let roles: Vec<(&Config, &Role)> = self
                    .facts
                    .reach
                    .iter()
                    .filter_map(|one| self.policy.role(&one.role).ok())
                    .map(|role| (self.config, role))
                    .collect();
                let measured = Measured {
                    environment: self.config.environment.clone(),
                    deadline: self.incident.measured.clone(),
                    audit_entries: self.facts.looked_at.1,
                    masks: self.incident.routes.as_ref().map(|_| {
                        let routes = self.facts.reach.iter().filter_map(|one| one.routes.as_ref());
                        let lines = routes.flatten().flat_map(|route| {
                            route.masks.iter().map(|mask| format!("{}: {mask}", route.name))
                        });
                        let lines: BTreeSet<String> = lines.collect();
                        lines.into_iter().collect()
                    }),
                    ..Measured::default()
                };
                let all = records::measures_of(&roles, &[measured]);
                let lines = all.into_iter().map(|one| format!("{}: {}", one.title, one.text));
                match roles.is_empty() {
                    true => Self::open(field, "the policy does not have the roles any more"),
                    false => Self::known(field, lines, FilledSource::Configuration),
                }
            }
            "measures_taken" => {
                let acts = self.facts.acts.iter();
                // What was done before the leak was no measure against it, and neither is what lets tokens work again.
                let since = self.incident.leaked_ms.unwrap_or_default();
                let acts = acts.filter(|act| {
                    let is_measure =
                        ["token_revoked", "statuses_changed", "key_compromised", "keys_withdrawn"]
                            .contains(&act.act.as_str());
                    is_measure && !act.resumes && act.at_ms >= since
                });
                let lines: Vec<String> = acts
                    .map(|act| format!("{}: {} (entry {})", utc(act.at_ms), act.what, act.position))
                    .collect();
                match (lines.is_empty(), self.facts.stop.live) {
                    (true, _) => Self::open(
                        field,
                        "nothing was done with these tokens since the leak: `edgepass revoke`",
                    ),
                    (false, 0) => Self::known(field, lines, FilledSource::Trail),
                    (false, _) => Self::open(field, &lines.join("; ")),
                }
            }
            _ => return None,
        })
    }

    fn communication(&self, field: &Field) -> Option<Filled> {
        let told = self.answer("communicated");
        let is_told = matches!(told, Some("yes" | "planned"));
        let is_crossing = self.answer("cross_border");
        Some(match field.name {
            "condition" if told.is_some_and(|told| told != "condition_met") => {
                Self::none(field, "no condition of Art. 34(3) is claimed")
            }
            "communicated_at" | "communicated_to" | "means" | "content"
                if told.is_some() && !is_told =>
            {
                Self::none(field, "data subjects are not told")
            }
            "content" => Self::open(field, "the page has a draft"),
            "lead_authority" | "subjects_by_country" if is_crossing == Some("no") => {
                Self::none(field, "the processing does not cross borders")
            }
            _ => return None,
        })
    }
}
