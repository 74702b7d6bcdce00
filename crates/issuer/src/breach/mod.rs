//! Incidents: what a leaked or misused credential could reach, what was done with it, when that ended, and the
//! report about it (Art. 33 and 34 GDPR).
//!
//! An incident is opened, gets answers that only people know, is exported as often as its report has a new phase
//! (Art. 33(4)), and is closed. Each of these is an entry of the audit trail. A report is made from the trail, the
//! records of tokens, their use, and the policy; the trail holds its digest, so that a third party can check it.

mod ends;
pub mod export;
pub mod facts;
pub mod fields;
mod form;
pub mod notices;
pub mod reach;
pub mod report;
pub mod trail;
pub mod uses;

use std::collections::BTreeMap;

use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};

use self::fields::{Field, FieldError};
use crate::audit::{Act, AuditEntry};
use crate::selection::MAX_NAME_BYTES;

/// The time in which an authority is to be told (Art. 33(1) GDPR), in seconds.
pub const ALLOWED: u64 = 72 * 60 * 60;
/// The most tokens that an incident names one by one.
pub const MAX_NAMED: usize = 1000;
/// The most answers and notes of an incident.
const MAX_NOTES: usize = 1000;
/// The longest note or reason, in bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024;
/// The most routes that a guard's policies tell.
const MAX_ROUTES: usize = 2000;

/// What an incident is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Concerns {
    /// These tokens, by `jti`, and those that were exchanged for them.
    Tokens(Vec<String>),
    /// All tokens of this client that were valid when its credential leaked, or issued since.
    Client(String),
    /// All tokens of this role that were valid at that time, or issued since.
    Role(String),
}

/// A route of a guard, as its policy tells it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardedRoute {
    /// Methods and path.
    pub name: String,
    /// Audiences of tokens. Empty: the guard's default.
    pub audiences: Vec<String>,
    /// Scope tokens that are needed, all of them.
    pub all_of: Vec<String>,
    /// Scope tokens of which one is needed.
    pub any_of: Vec<String>,
    /// Purposes of which the token must have one.
    pub purposes: Vec<String>,
    /// Categories of data that the token must cover.
    pub data: Vec<String>,
    /// What is masked, in words.
    pub masks: Vec<String>,
    /// Whether no token is needed.
    pub public: bool,
}

/// What opens an incident.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// `jti` of tokens that it is about. Otherwise a client or a role is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt_ids: Vec<String>,
    /// The client that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The role that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When the credential became known to others, in milliseconds. `None`: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaked_ms: Option<u64>,
    /// When the controller became aware, in milliseconds. `None`: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aware_ms: Option<u64>,
    /// The time in which an authority is to be told, in seconds. `None`: [`ALLOWED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
    /// What happened, in a sentence.
    pub reason: String,
    /// The routes of guards. `None`: no policy of a guard was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<GuardedRoute>>,
    /// What `edgepass doctor --url` measured of the time until a revoked token is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}

/// Something that a person said.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Note {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

/// A report that was exported: a phase of the notification (Art. 33(4) GDPR).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Phase {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// SHA-256 of the report, in hexadecimal.
    pub digest: String,
    /// How many fields were open.
    pub open: u64,
}

/// An incident.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Incident {
    /// Its name: `in_` and 22 characters.
    pub id: String,
    /// What it is about.
    pub concerns: Concerns,
    /// When it was opened, in milliseconds.
    pub opened_ms: u64,
    /// When the controller became aware, in milliseconds.
    pub aware_ms: u64,
    /// When the credential became known to others, in milliseconds. `None`: nobody knows.
    pub leaked_ms: Option<u64>,
    /// The time in which an authority is to be told, in seconds.
    pub allowed: u64,
    /// What happened, in a sentence.
    pub reason: String,
    /// The routes of guards.
    pub routes: Option<Vec<GuardedRoute>>,
    /// What was measured of the time until a revoked token is refused.
    pub measured: Option<String>,
    /// What people answered, by the field's name.
    pub answers: BTreeMap<String, Note>,
    /// What people noted.
    pub notes: Vec<Note>,
    /// The reports that were exported.
    pub phases: Vec<Phase>,
    /// When it was closed, in milliseconds.
    pub closed_ms: Option<u64>,
    /// Number of changes, so that two at once are noticed.
    pub version: u64,
}

/// What happened to an incident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentChange {
    /// It was opened.
    Opened,
    /// Somebody answered or noted something.
    Noted,
    /// A report was exported.
    Exported,
    /// It was closed.
    Closed,
}

impl IncidentChange {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Noted => "noted",
            Self::Exported => "exported",
            Self::Closed => "closed",
        }
    }
}

/// What people answer and note.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noting {
    /// Answers by the field's name. An empty one takes an answer back.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
    /// A note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The routes of guards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<GuardedRoute>>,
    /// What `edgepass doctor --url` measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}

/// The reason why an incident is not opened, or not changed.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BreachError {
    /// Nothing is named, too much, or by a name that nothing has.
    #[error(
        "name between one and 1,000 tokens by jti, or a client or a role by a name of at most 1,024 bytes"
    )]
    Concerns,
    /// No entry of the trail is about the issue of such a token, or about all that are named.
    #[error(
        "the audit trail has no token, client or role of that name, or not all of them; `edgepass tokens` lists tokens"
    )]
    NoToken,
    /// The credential leaked before there was one.
    #[error("it did not leak before the first of the tokens was issued, at {0}")]
    NotIssued(String),
    /// A time lies ahead.
    #[error("a credential does not leak in the future, and nobody becomes aware in the future")]
    Future,
    /// Somebody became aware before it leaked.
    #[error("aware before it leaked: aware_at is the later time")]
    Order,
    /// The time in which an authority is told is no such time.
    #[error("the time to tell an authority is between 1h and 90days")]
    Allowed,
    /// The reason, a note or a measurement is no text.
    #[error("write a text of 1 to 16,384 bytes without control characters but line breaks")]
    Text,
    /// There are too many routes, or one has too many or too long names.
    #[error("routes: at most 2,000, each with names of at most 1,024 bytes")]
    Routes,
    /// A field does not take the answer.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Nothing is answered or noted.
    #[error("nothing to note: answer a field, or write a text")]
    Nothing,
    /// There are too many notes.
    #[error("an incident has at most 1,000 notes")]
    TooMany,
    /// The incident is closed.
    #[error("the incident is closed: open another one, with the same --aware-at")]
    Closed,
}

fn is_text(text: &str) -> bool {
    let is_plain = |char: char| !char.is_control() || char == '\n';
    !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && text.chars().all(is_plain)
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn are_routes(routes: &[GuardedRoute]) -> bool {
    let is_one = |route: &GuardedRoute| {
        let lists = [&route.audiences, &route.all_of, &route.any_of, &route.purposes, &route.data];
        let names = lists.into_iter().chain([&route.masks]);
        is_name(&route.name)
            && names.clone().all(|names| names.len() <= 100)
            && names.flatten().all(|name| is_name(name))
    };
    routes.len() <= MAX_ROUTES && routes.iter().all(is_one)
}

impl Concerns {
    /// What is named: one of the three.
    fn named(
        jwt_ids: Vec<String>,
        client_id: Option<String>,
        role: Option<String>,
    ) -> Result<Self, BreachError> {
        let (concerns, is_right) = match (jwt_ids.len(), client_id, role) {
            (1..=MAX_NAMED, None, None) => {
                let mut jwt_ids = jwt_ids;
                jwt_ids.sort();
                jwt_ids.dedup();
                let is_right = jwt_ids.iter().all(|id| is_name(id));
                (Self::Tokens(jwt_ids), is_right)
            }
            (0, Some(name), None) => {
                let is_right = is_name(&name);
                (Self::Client(name), is_right)
            }
            (0, None, Some(name)) => {
                let is_right = is_name(&name);
                (Self::Role(name), is_right)
            }
            _ => return Err(BreachError::Concerns),
        };
        is_right.then_some(concerns).ok_or(BreachError::Concerns)
    }
}

impl Incident {
    /// Opens an incident.
    ///
    /// # Errors
    ///
    /// [`BreachError`].
    pub fn open(id: String, opening: Opening, now: UnixMillis) -> Result<Self, BreachError> {
        const HOUR: u64 = 60 * 60;
        let Opening { leaked_ms, aware_ms, allowed, reason, routes, measured, .. } = opening;
        let concerns = Concerns::named(opening.jwt_ids, opening.client_id, opening.role)?;
        let aware_ms = aware_ms.unwrap_or(now.0);
        if aware_ms > now.0 || leaked_ms.is_some_and(|leaked| leaked > now.0) {
            return Err(BreachError::Future);
        }
        if leaked_ms.is_some_and(|leaked| leaked > aware_ms) {
            return Err(BreachError::Order);
        }
        let allowed = allowed.unwrap_or(ALLOWED);
        if !(HOUR..=90 * 24 * HOUR).contains(&allowed) {
            return Err(BreachError::Allowed);
        }
        if !is_text(&reason) || !measured.as_deref().is_none_or(is_text) {
            return Err(BreachError::Text);
        }
        if !routes.as_deref().is_none_or(are_routes) {
            return Err(BreachError::Routes);
        }
        Ok(Self {
            id,
            concerns,
            opened_ms: now.0,
            aware_ms,
            leaked_ms,
            allowed,
            reason,
            routes,
            measured,
            answers: BTreeMap::new(),
            notes: Vec::new(),
            phases: Vec::new(),
            closed_ms: None,
            version: 0,
        })
    }

    /// Takes what people answer and note.
    ///
    /// # Errors
    ///
    /// [`BreachError`]. Nothing was taken.
    pub fn note(&mut self, noting: Noting, now: UnixMillis) -> Result<(), BreachError> {
        self.refuse_closed()?;
        let Noting { answers, text, routes, measured } = noting;
        if answers.is_empty() && text.is_none() && routes.is_none() && measured.is_none() {
            return Err(BreachError::Nothing);
        }
        if !text.iter().chain(&measured).all(|text| is_text(text)) {
            return Err(BreachError::Text);
        }
        if !routes.as_deref().is_none_or(are_routes) {
            return Err(BreachError::Routes);
        }
        if self.notes.len() >= MAX_NOTES {
            return Err(BreachError::TooMany);
        }
        let mut checked = Vec::new();
        for (name, answer) in answers {
            let field = Field::named(&name)?;
            let answer = match answer.is_empty() {
                true => None,
                false => Some(field.take(&answer)?),
            };
            checked.push((name, answer));
        }
        for (name, answer) in checked {
            match answer {
                Some(text) => drop(self.answers.insert(name, Note { at_ms: now.0, text })),
                None => drop(self.answers.remove(&name)),
            }
        }
        self.notes.extend(text.map(|text| Note { at_ms: now.0, text }));
        if routes.is_some() {
            self.routes = routes;
        }
        if measured.is_some() {
            self.measured = measured;
        }
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    /// Records that a report was exported.
    ///
    /// # Errors
    ///
    /// [`BreachError::TooMany`].
    pub fn exported(&mut self, phase: Phase) -> Result<(), BreachError> {
        if self.phases.len() >= MAX_NOTES {
            return Err(BreachError::TooMany);
        }
        self.phases.push(phase);
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    /// Closes the incident.
    ///
    /// # Errors
    ///
    /// [`BreachError::Closed`], [`BreachError::Text`].
    pub fn close(&mut self, reason: &str, now: UnixMillis) -> Result<(), BreachError> {
        self.refuse_closed()?;
        if !is_text(reason) {
            return Err(BreachError::Text);
        }
        self.notes.push(Note { at_ms: now.0, text: format!("closed: {reason}") });
        self.closed_ms = Some(now.0);
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    fn refuse_closed(&self) -> Result<(), BreachError> {
        if self.closed_ms.is_some() { Err(BreachError::Closed) } else { Ok(()) }
    }

    /// When an authority is to be told, in milliseconds.
    pub fn due_ms(&self) -> u64 {
        self.aware_ms.saturating_add(self.allowed.saturating_mul(1000))
    }

    /// The entry of the audit trail about a change. `reason` is what a person wrote.
    pub fn entry(
        &self,
        change: IncidentChange,
        reason: &str,
        by: (&str, u64),
        now: UnixMillis,
    ) -> AuditEntry {
        let (actor, policy) = by;
        let digest = self.phases.last().map(|phase| phase.digest.clone());
        let act = Act::IncidentChanged {
            incident: self.id.clone(),
            change,
            aware_ms: self.aware_ms,
            digest: digest.filter(|_| change == IncidentChange::Exported),
            reason: reason.to_owned(),
        };
        AuditEntry { at_ms: now.0, actor: actor.to_owned(), policy: Some(policy), act }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn opening() -> Opening {
        Opening {
            jwt_ids: vec!["t".to_owned()],
            leaked_ms: Some(NOW.0 - 5),
            reason: "found in a log".to_owned(),
            ..Opening::default()
        }
    }

    #[test]
    fn an_incident_is_opened_with_times_that_can_be() {
        let open = |change: fn(&mut Opening)| {
            let mut opening = opening();
            change(&mut opening);
            Incident::open("in_1".to_owned(), opening, NOW)
        };
        let incident = open(|_| {}).unwrap();
        assert_eq!((incident.aware_ms, incident.due_ms()), (NOW.0, NOW.0 + 72 * 3_600_000));
        type Change = fn(&mut Opening);
        let refused: [(Change, BreachError); 9] = [
            (|it| it.jwt_ids.clear(), BreachError::Concerns),
            (|it| it.jwt_ids = vec![String::new()], BreachError::Concerns),
            (|it| it.role = Some("a".to_owned()), BreachError::Concerns),
            (|it| it.leaked_ms = Some(NOW.0 + 1), BreachError::Future),
            (|it| it.aware_ms = Some(NOW.0 + 1), BreachError::Future),
            (|it| it.aware_ms = Some(NOW.0 - 6), BreachError::Order),
            (|it| it.allowed = Some(3599), BreachError::Allowed),
            (|it| it.reason = String::new(), BreachError::Text),
            (|it| it.routes = Some(vec![GuardedRoute::default()]), BreachError::Routes),
        ];
        for (change, error) in refused {
            assert_eq!(open(change).unwrap_err(), error);
        }
    }

    #[test]
    fn what_cannot_be_taken_leaves_everything_as_it_was() {
        let mut incident = Incident::open("in_1".to_owned(), opening(), NOW).unwrap();
        let answers = |pairs: &[(&str, &str)]| Noting {
            answers: pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
            ..Noting::default()
        };
        incident.note(answers(&[("risk", "high")]), NOW).unwrap();
        let before = incident.clone();
        for wrong in [
            answers(&[("cause", "unknown"), ("risk", "huge")]),
            answers(&[("no_such_field", "1")]),
            Noting { text: Some("a\u{7}".to_owned()), ..Noting::default() },
            Noting::default(),
        ] {
            incident.note(wrong, NOW).unwrap_err();
            assert_eq!(incident, before);
        }
        incident.note(answers(&[("risk", "")]), NOW).unwrap();
        assert!(incident.answers.is_empty());
        incident.close("done", NOW).unwrap();
        assert_eq!(incident.note(answers(&[("risk", "high")]), NOW), Err(BreachError::Closed));
        assert_eq!(incident.close("again", NOW), Err(BreachError::Closed));
    }
}
