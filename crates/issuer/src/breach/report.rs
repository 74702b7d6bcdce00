//! The report about an incident: the fields of the template, filled as far as facts and people's answers go.

use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::fields::{FIELDS, Field, SECTIONS};
use super::form::Form;
use super::notices::{self, Notices};
use super::{Concerns, Incident, Note, Phase};
use crate::config::Config;
use crate::policy::version::LivePolicy;

/// The form of a report, for programs.
pub const FORM: &str = "edgepass-breach-report-1";
/// Whose order of fields the report has.
pub const TEMPLATE: &str = "EDPB template for the notification of personal data breaches, version 1.0, \
     draft for consultation of 10 June 2026 (order of sections and values)";

/// A report.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// [`FORM`].
    pub form: String,
    /// [`TEMPLATE`].
    pub template: String,
    /// The issuer identifier.
    pub issuer: String,
    /// The incident.
    pub incident: String,
    /// What it is about.
    pub concerns: Concerns,
    /// What happened, in a sentence.
    pub reason: String,
    /// When the report was made, in milliseconds.
    pub made_ms: u64,
    /// The number of the policy version by which it was made.
    pub policy: u64,
    /// The clock of Art. 33(1).
    pub clock: Clock,
    /// Earlier reports (Art. 33(4)).
    pub phases: Vec<Phase>,
    /// What is known.
    pub facts: Facts,
    /// What was measured of the time until a revoked token is refused. `None`: nobody said.
    pub measured: Option<String>,
    /// The fields, section by section.
    pub sections: Vec<Section>,
    /// What people noted.
    pub notes: Vec<Note>,
    /// Drafts of texts to others.
    pub notices: Notices,
    /// When the incident was closed, in milliseconds.
    pub closed_ms: Option<u64>,
}

/// The clock of Art. 33(1) GDPR.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Clock {
    /// When the credential became known to others, in milliseconds. `None`: nobody knows.
    pub leaked_ms: Option<u64>,
    /// When the controller became aware, in milliseconds.
    pub aware_ms: u64,
    /// When an authority is to be told, in milliseconds.
    pub due_ms: u64,
    /// Whether the first report was, or would be, made after that.
    pub is_late: bool,
}

/// A section.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Section {
    /// Its number.
    pub number: String,
    /// Its title.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Filled>,
}

/// A field with what is known of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Filled {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Whether it is known.
    pub state: FilledState,
    /// What is known, a line each; or why nothing is.
    pub value: Vec<String>,
    /// Where it is from.
    pub source: FilledSource,
    /// What may be written. `None`: a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<String>,
}

/// Whether a field is known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilledState {
    /// It is known.
    Known,
    /// A person must answer. The value is a hint, where there is one.
    Open,
    /// Nobody can know it from here. The value says why.
    Unknown,
    /// It does not apply. The value says why.
    NotApplicable,
}

/// Where the value of a field is from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilledSource {
    /// Somebody wrote it.
    Person,
    /// The configuration.
    Configuration,
    /// The audit trail and the records of tokens.
    Trail,
    /// Reports of guards about use.
    Usage,
    /// It follows from other fields.
    Calculated,
    /// Nowhere.
    Nowhere,
}

impl Report {
    /// Makes a report.
    pub fn new(
        incident: &Incident,
        facts: Facts,
        (config, policy): (&Config, &LivePolicy),
        now: UnixMillis,
    ) -> Self {
        let first_ms = incident.phases.first().map_or(now.0, |phase| phase.at_ms);
        let clock = Clock {
            leaked_ms: incident.leaked_ms,
            aware_ms: incident.aware_ms,
            due_ms: incident.due_ms(),
            is_late: first_ms > incident.due_ms(),
        };
        let now_ms = now.0;
        let form = Form { incident, facts: &facts, config, policy, clock, now_ms };
        let mut filled: Vec<(&Field, Filled)> =
            FIELDS.iter().map(|field| (field, form.fill(field))).collect();
        let is_open = filled
            .iter()
            .any(|(field, one)| one.state == FilledState::Open && field.name != "state");
        for (field, one) in &mut filled {
            if field.name == "state" && one.source != FilledSource::Person {
                let state = if is_open { "incomplete" } else { "complete" };
                *one = Form::known(field, [state.to_owned()], FilledSource::Calculated);
            }
        }
        let section = |(number, title): &(&str, &str)| Section {
            number: (*number).to_owned(),
            title: (*title).to_owned(),
            fields: filled
                .iter()
                .filter(|(field, _)| field.section == *number)
                .map(|(_, one)| one.clone())
                .collect(),
        };
        let sections: Vec<Section> = SECTIONS.iter().map(section).collect();
        let notices = notices::drafts(incident, &facts, &sections, (clock, now.0));
        Self {
            form: FORM.to_owned(),
            template: TEMPLATE.to_owned(),
            issuer: config.issuer.clone(),
            incident: incident.id.clone(),
            concerns: incident.concerns.clone(),
            reason: incident.reason.clone(),
            made_ms: now.0,
            policy: policy.number(),
            clock,
            phases: incident.phases.clone(),
            facts,
            measured: incident.measured.clone(),
            sections,
            notes: incident.notes.clone(),
            notices,
            closed_ms: incident.closed_ms,
        }
    }

    /// The fields that a person must answer.
    pub fn open(&self) -> impl Iterator<Item = &Filled> {
        let fields = self.sections.iter().flat_map(|section| &section.fields);
        fields.filter(|one| one.state == FilledState::Open)
    }
}

/// A time in UTC.
pub fn utc(millis: u64) -> String {
    let at = i64::try_from(millis).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.map_or_else(
        || millis.to_string(),
        |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    )
}

/// When the tokens stopped working, in words.
pub fn stopped(facts: &Facts, now_ms: u64) -> String {
    let stop = &facts.stop;
    if facts.count == 0 {
        return "none was issued that was valid then".to_owned();
    }
    if stop.live > 0 {
        return format!("{} of them still work", stop.live);
    }
    if stop.unpublished > 0 {
        return "a revocation is recorded, and not published everywhere".to_owned();
    }
    match stop.at_ms > now_ms {
        true => format!("no guard accepts them from {} on", utc(stop.at_ms)),
        false => format!("no guard accepts them since {}", utc(stop.at_ms)),
    }
}
