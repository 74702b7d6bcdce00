//! Drafts of texts to others: of a processor to its controller (Art. 33(2)), and to people (Art. 34(2)).
//!
//! What only a person can know stands in brackets, by the name of its field.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::report::{Clock, FilledState, Section, stopped, utc};
use super::{Concerns, Incident};

/// Drafts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Notices {
    /// Of a processor to its controller (Art. 33(2) GDPR).
    pub to_controller: String,
    /// To people, in plain language (Art. 34(2) GDPR).
    pub to_people: String,
}

/// Fields that the template does not ask for, and people do.
const ASKED: [&str; 2] = ["plain_words", "advice"];

/// Writes the drafts.
pub(super) fn drafts(
    incident: &Incident,
    facts: &Facts,
    sections: &[Section],
    (clock, now_ms): (Clock, u64),
) -> Notices {
    let value = |name: &str| -> String {
        let mut fields = sections.iter().flat_map(|section| &section.fields);
        let found = fields.find(|field| field.name == name);
        match found {
            Some(field) if field.state == FilledState::Known => field.value.join("; "),
            Some(field) if field.state == FilledState::NotApplicable && !ASKED.contains(&name) => {
                "none".to_owned()
            }
            _ => format!("[{name}]"),
        }
    };
    let what = match &incident.concerns {
        Concerns::Tokens(_) => "an access token".to_owned(),
        Concerns::Client(name) => format!("a credential of the client {name}"),
        Concerns::Role(name) => format!("a credential of the role {name}"),
    };
    let agreements: Vec<&str> = facts
        .reach
        .iter()
        .filter_map(|one| one.agreement.as_ref().map(|it| it.id.as_str()))
        .collect();
    let agreements = match agreements.is_empty() {
        true => "[agreement]".to_owned(),
        false => agreements.join(", "),
    };
    let leaked = clock.leaked_ms.map_or_else(|| "[began]".to_owned(), utc);
    let is_known = facts.stop.live == 0 && facts.stop.unpublished == 0 && facts.count > 0;
    let is_named = matches!(incident.concerns, Concerns::Tokens(_));
    let tokens = stopped(facts, now_ms);
    // Whether a client's credential was replaced is not known here.
    let credential = if is_named { "" } else { " The credential: [ended]." };
    let closed = match is_known && is_named && facts.stop.at_ms <= now_ms {
        true => format!("The access is closed since {}.", utc(facts.stop.at_ms)),
        false => "[ended].".to_owned(),
    };
    let (least, most) = facts.uses.after;
    let number = |one: u64| one.to_string();
    let is_whole = facts.uses.complete_since_ms.is_some() && facts.uses.unrecorded == 0;
    let requests = if !is_whole {
        format!("{} as far as reported, not complete", number(most))
    } else if least == most {
        number(most)
    } else {
        format!("between {} and {}", number(least), number(most))
    };
    let to_controller = [
        format!("To: {}", value("controller")),
        format!("From: {}", value("other_parties")),
        format!(
            "About: personal data breach (Art. 33(2) GDPR), agreement {agreements}, our reference {}",
            incident.id
        ),
        String::new(),
        format!(
            "We became aware at {} that {what} was known to others since {leaked}. Tokens: {tokens}.{credential}",
            utc(clock.aware_ms)
        ),
        format!("What happened: {}", incident.reason),
        format!(
            "Categories of data subjects: {}. Number: {}.",
            value("subjects"),
            value("subjects_number")
        ),
        format!(
            "Categories of data: {}. Number of records: {}.",
            value("data"),
            value("records_number")
        ),
        format!(
            "Accepted requests after the leak, as reported by guards: {requests}. Disclosure: {}.",
            value("confidentiality")
        ),
        format!("Likely consequences: {}.", value("consequences")),
        format!("Measures taken: {}.", value("measures_taken")),
        format!("Measures proposed: {}.", value("prevention_description")),
        format!("Contact: {}.", value("dpo")),
        "We send further information as soon as we have it (Art. 33(4)).".to_owned(),
    ];
    let to_people = [
        "What happened".to_owned(),
        format!(
            "{}. Somebody else may have seen data about you: {}.",
            value("plain_words"),
            value("data")
        ),
        String::new(),
        "What it may mean for you".to_owned(),
        format!("{}.", value("impact")),
        String::new(),
        "What we did".to_owned(),
        format!("{closed} {}.", value("prevention_description")),
        String::new(),
        "What you can do".to_owned(),
        format!("{}.", value("advice")),
        String::new(),
        "Whom to ask".to_owned(),
        format!("{}. {}.", value("controller"), value("dpo")),
    ];
    Notices { to_controller: to_controller.join("\n"), to_people: to_people.join("\n") }
}
