//! The fields of a report, in the order of the sections of the EDPB's template for the notification of personal data
//! breaches (version 1.0, draft for consultation of 10 June 2026). Titles are in our own words.

/// What a field takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number, and how sure it is: `exact 120`, `approximate 100`, or `cannot_be_determined`.
    Number,
    /// One of these.
    One(&'static [&'static str]),
    /// Some of these, separated by commas.
    Some(&'static [&'static str]),
    /// It follows from other facts, and takes no answer.
    Calculated,
}

/// A field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// Its section.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether a report is complete without it.
    pub optional: bool,
}

/// The reason why a field does not take an answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FieldError {
    /// No field has the name.
    #[error("no field has this name; `edgepass breach show ID` lists those that are open")]
    NoField,
    /// The answer says that there is no value, and not why.
    #[error("{0}: write why: \"unknown: REASON\" or \"n/a: REASON\"")]
    NoReason(&'static str),
    /// The answer is too long, or has control characters.
    #[error("{0}: write at most 16,384 bytes without control characters but line breaks")]
    Text(&'static str),
    /// It is not one of the values.
    #[error("{0}: write one of {1}")]
    One(&'static str, String),
    /// One of the values is none.
    #[error("{0}: write some of these, separated by commas: {1}")]
    Some(&'static str, String),
    /// It takes no answer.
    #[error("{0}: it follows from what opened the incident, and takes no answer")]
    Calculated(&'static str),
    /// It is no number.
    #[error("{0}: write \"exact N\", \"approximate N\" or \"cannot_be_determined\"")]
    Number(&'static str),
}

/// The sections.
pub const SECTIONS: [(&str, &str); 17] = [
    ("1", "The notification"),
    ("2.1", "The controller"),
    ("2.2", "Who reports"),
    ("2.3", "Data protection officer or contact point"),
    ("2.4", "Other parties"),
    ("3.1", "Timeline"),
    ("3.2", "Nature and circumstances"),
    ("3.3", "Data subjects concerned"),
    ("3.4", "Data concerned"),
    ("3.5", "Measures in place before"),
    ("4.1", "Likely consequences"),
    ("4.2", "Risk"),
    ("4.3", "Measures taken"),
    ("4.4", "Measures against recurrence"),
    ("5", "Communication to data subjects"),
    ("6", "Other authorities, and other countries"),
    ("7", "Attachments"),
];

const fn field(
    section: &'static str,
    name: &'static str,
    title: &'static str,
    kind: Kind,
) -> Field {
    Field { section, name, title, kind, optional: false }
}

const fn optional(
    section: &'static str,
    name: &'static str,
    title: &'static str,
    kind: Kind,
) -> Field {
    Field { section, name, title, kind, optional: true }
}

use Kind::{Calculated, Number, One, Text};

const YES_NO: Kind = One(&["yes", "no", "unknown"]);
const MEASURES: &[&str] = &[
    "pseudonymisation",
    "backup",
    "encryption",
    "policies",
    "training",
    "incident_log",
    "access_levels",
    "logical_access_control",
    "audits",
    "physical_access_control",
    "up_to_date_systems",
    "other",
];

/// The fields, section by section.
pub const FIELDS: [Field; 65] = [
    field("1", "notification", "Kind of notification", Calculated),
    field("1", "state", "State of the notification", One(&["withdraw"])),
    field("1", "withdrawal_reasons", "Reasons for withdrawing", Text),
    field("1", "earlier_id", "The authority's number of the earlier notification", Text),
    field("1", "reference", "Own reference", Text),
    field("2.1", "controller", "Name of the controller", Text),
    field("2.1", "controller_contact", "Contact", Text),
    optional("2.1", "controller_identifier", "Register or tax number", Text),
    field("2.1", "sector", "Sector", One(&["private", "public"])),
    field("2.1", "organisation", "Size", One(&["micro", "sme", "large", "other"])),
    optional("2.1", "economic_activity", "Economic activity (NACE section)", Text),
    field("2.1", "representative", "Representative in the EEA", Text),
    field("2.2", "reporter", "Name and contact", Text),
    field(
        "2.2",
        "reporter_function",
        "Function",
        One(&["dpo", "legal_representative", "authorised_representative", "other"]),
    ),
    field("2.3", "dpo", "Data protection officer", Text),
    field("2.4", "other_parties", "Others that are involved", Text),
    field(
        "3.1",
        "occurrence",
        "When it happened",
        One(&["specific_day", "date_range", "ongoing", "cannot_be_determined", "to_be_determined"]),
    ),
    field("3.1", "began", "Beginning", Calculated),
    field("3.1", "ended", "End", Text),
    field("3.1", "aware", "When the controller became aware", Calculated),
    field("3.1", "late_reasons", "Reasons for the delay (Art. 33(1))", Text),
    field(
        "3.1",
        "discovery",
        "How it was discovered",
        One(&["controller", "processor", "data_subject", "external_party", "press", "other"]),
    ),
    optional("3.1", "discovery_description", "More about the discovery", Text),
    field("3.1", "told_at", "When another party told it", Text),
    optional("3.1", "timeline_comments", "More about the times", Text),
    field(
        "3.2",
        "nature",
        "Nature of the breach",
        Kind::Some(&["confidentiality", "integrity", "availability"]),
    ),
    field(
        "3.2",
        "confidentiality",
        "Disclosure",
        One(&["exfiltrated", "likely", "not_exfiltrated", "not_assessable", "to_be_determined"]),
    ),
    field(
        "3.2",
        "unintelligible",
        "Whether the data are unintelligible to others",
        One(&["yes", "subvertible", "no", "not_assessable", "to_be_determined"]),
    ),
    field(
        "3.2",
        "integrity",
        "Alteration",
        One(&["altered_no_wrong_use", "altered_recoverable", "altered_not_recoverable"]),
    ),
    field("3.2", "availability", "Loss", One(&["temporary", "permanent", "not_determined"])),
    field(
        "3.2",
        "incident",
        "Nature of the incident",
        Kind::Some(&[
            "abuse_of_privileges",
            "ransomware",
            "hacking",
            "phishing",
            "vulnerability_exploited",
            "unauthorised_access",
            "exfiltration",
            "record_mix_up",
            "device_lost_or_stolen",
            "e_waste",
            "paper_disposal",
            "mail_lost_or_opened",
            "misconfiguration",
            "wrong_permissions",
            "paper_lost_or_stolen",
            "deletion",
            "shown_to_wrong_recipient",
            "sent_by_mistake",
            "open_distribution_list",
            "malfunction",
            "unauthorised_modification",
            "unintended_publication",
            "verbal_disclosure",
            "to_be_determined",
            "other",
        ]),
    ),
    field(
        "3.2",
        "cause",
        "Cause",
        One(&[
            "internal_not_malicious",
            "internal_malicious",
            "external_not_malicious",
            "external_malicious",
            "to_be_determined",
            "unknown",
        ]),
    ),
    field("3.2", "description", "What happened", Text),
    field("3.2", "systems", "Systems and services involved", Text),
    field(
        "3.3",
        "subjects",
        "Categories of data subjects",
        Kind::Some(&[
            "customers",
            "employees",
            "military_or_police",
            "minors",
            "patients",
            "students",
            "subscribers",
            "users",
            "vulnerable",
            "additional",
            "not_yet_known",
        ]),
    ),
    field("3.3", "subjects_number", "Number of data subjects", Number),
    field(
        "3.4",
        "data",
        "Categories of data",
        Kind::Some(&[
            "basic",
            "contact",
            "biometric",
            "criminal",
            "political",
            "ethnic",
            "religious",
            "sex_life",
            "trade_union",
            "genetic",
            "health",
            "financial",
            "employment_health",
            "identification",
            "location",
            "official_documents",
            "payment",
            "profile",
            "credentials",
            "not_yet_known",
            "additional",
        ]),
    ),
    field("3.4", "records_number", "Number of records, not of persons", Number),
    field("3.5", "measures_before", "Measures", Kind::Some(MEASURES)),
    field("3.5", "measures_before_description", "What they were", Text),
    field(
        "4.1",
        "consequences",
        "Likely consequences",
        Kind::Some(&[
            "disclosed",
            "linkable",
            "unlawful_purposes",
            "invalid_data_used",
            "valid_data_misused",
            "services_not_accessible",
            "services_disrupted",
            "other",
            "under_assessment",
        ]),
    ),
    field(
        "4.1",
        "impact",
        "Impact on data subjects",
        Kind::Some(&[
            "loss_of_control",
            "limitation_of_rights",
            "discrimination",
            "identity_theft",
            "fraud",
            "financial_loss",
            "reversal_of_pseudonymisation",
            "reputation",
            "professional_secrecy",
            "disclosure_to_third_parties",
            "economic_or_social_disadvantage",
            "physical_or_mental_harm",
            "damage_to_property",
            "other",
            "to_be_determined",
        ]),
    ),
    field("4.1", "severity", "Severity", One(&["minor", "moderate", "severe", "to_be_determined"])),
    field("4.2", "risk", "Outcome", One(&["high", "risk", "unlikely", "more_information_needed"])),
    field("4.2", "risk_description", "Method and factors", Text),
    field("4.3", "measures_taken", "Measures", Text),
    field(
        "4.4",
        "prevention",
        "Measures",
        Kind::Some(&[
            "anonymisation",
            "backup",
            "processes",
            "encryption",
            "policies",
            "training",
            "erasure",
            "incident_log",
            "access_levels",
            "logical_access_control",
            "audits",
            "physical_access_control",
            "pseudonymisation",
            "up_to_date_systems",
            "other",
        ]),
    ),
    field("4.4", "prevention_description", "What they are", Text),
    field(
        "5",
        "communicated",
        "Whether data subjects were told (Art. 34)",
        One(&["yes", "planned", "investigating", "no_high_risk", "condition_met"]),
    ),
    field("5", "communicated_at", "When", Text),
    field(
        "5",
        "condition",
        "Which condition of Art. 34(3) is met",
        One(&["protected", "risk_removed", "disproportionate_effort"]),
    ),
    field("5", "communicated_to", "Who was told, and who was not", Text),
    field(
        "5",
        "means",
        "By which means",
        Kind::Some(&["individual", "public_announcement", "other"]),
    ),
    field("5", "content", "What they were told", Text),
    optional("5", "plain_words", "What happened, in plain words, for the draft", Text),
    optional("5", "advice", "What people can do, for the draft", Text),
    field("6", "police", "Reported as a criminal offence", YES_NO),
    field("6", "other_authorities", "Told to other authorities under other law", YES_NO),
    optional("6", "other_authorities_description", "Which, with their numbers", Text),
    field("6", "cross_border", "Cross-border processing", YES_NO),
    field("6", "lead_authority", "Lead authority", Text),
    field("6", "countries_of_use", "Countries from which the credential was used", Text),
    field("6", "subjects_by_country", "Number of data subjects by country", Text),
    field("6", "authorities", "Authorities that are told", Text),
    field("7", "attachments", "Attachments", Text),
];

/// An answer that says why there is no value: `unknown: REASON` or `n/a: REASON`. Whether it is the first.
pub fn without_value(answer: &str) -> Option<(bool, &str)> {
    let (word, why) = answer.split_once(':')?;
    let is_unknown = word.eq_ignore_ascii_case("unknown");
    let is_one = is_unknown || word.eq_ignore_ascii_case("n/a");
    Some((is_unknown, why.trim())).filter(|(_, why)| is_one && !why.is_empty())
}

impl Field {
    /// The field with a name.
    ///
    /// # Errors
    ///
    /// [`FieldError::NoField`].
    pub fn named(name: &str) -> Result<&'static Self, FieldError> {
        static ALL: [Field; FIELDS.len()] = FIELDS;
        ALL.iter().find(|field| field.name == name).ok_or(FieldError::NoField)
    }

    /// Takes an answer: as it is kept.
    ///
    /// # Errors
    ///
    /// [`FieldError`].
    pub fn take(&self, answer: &str) -> Result<String, FieldError> {
        let answer = answer.trim();
        // No value, and no reason for that.
        let word = answer.trim_end_matches([':', ' ']).to_ascii_lowercase();
        let is_value = matches!(self.kind, One(values) if values.contains(&answer));
        if self.kind != Calculated && !is_value && ["unknown", "n/a"].contains(&word.as_str()) {
            return Err(FieldError::NoReason(self.name));
        }
        if self.kind != Calculated && without_value(answer).is_some() {
            return match super::is_text(answer) {
                true => Ok(answer.to_owned()),
                false => Err(FieldError::Text(self.name)),
            };
        }
        match self.kind {
            Calculated => Err(FieldError::Calculated(self.name)),
            Text => match super::is_text(answer) {
                true => Ok(answer.to_owned()),
                false => Err(FieldError::Text(self.name)),
            },
            One(values) => match values.contains(&answer) {
                true => Ok(answer.to_owned()),
                false => Err(FieldError::One(self.name, values.join(", "))),
            },
            Kind::Some(values) => {
                let chosen: Vec<&str> = answer.split(',').map(str::trim).collect();
                match chosen.iter().all(|one| values.contains(one)) {
                    true => Ok(values
                        .iter()
                        .copied()
                        .filter(|one| chosen.contains(one))
                        .collect::<Vec<_>>()
                        .join(", ")),
                    false => Err(FieldError::Some(self.name, values.join(", "))),
                }
            }
            Number => {
                let (how, number) = answer.split_once(' ').unwrap_or((answer, ""));
                let is_number = || {
                    number.len() <= 15
                        && !number.is_empty()
                        && number.bytes().all(|byte| byte.is_ascii_digit())
                };
                match how {
                    "exact" | "approximate" if is_number() => Ok(answer.to_owned()),
                    "cannot_be_determined" if number.is_empty() => Ok(answer.to_owned()),
                    _ => Err(FieldError::Number(self.name)),
                }
            }
        }
    }

    /// What may be written.
    pub fn choices(&self) -> Option<String> {
        match self.kind {
            Text | Calculated => None,
            Number => Some("exact N | approximate N | cannot_be_determined".to_owned()),
            One(values) => Some(values.join(" | ")),
            Kind::Some(values) => Some(format!("some of {}", values.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_name_of_its_own_and_stands_in_a_section() {
        for (at, field) in FIELDS.iter().enumerate() {
            assert!(SECTIONS.iter().any(|(section, _)| *section == field.section), "{field:?}");
            let same = FIELDS.iter().filter(|other| other.name == field.name).count();
            assert_eq!(same, 1, "{} at {at}", field.name);
        }
        let order = |section: &str| SECTIONS.iter().position(|(own, _)| *own == section);
        assert!(FIELDS.is_sorted_by_key(|field| order(field.section)));
    }

    #[test]
    fn answers_are_of_the_kind_that_the_field_takes() {
        for (name, answer, expected) in [
            ("risk", "high", Some("high")),
            ("risk", "High", None),
            ("nature", "availability,confidentiality", Some("confidentiality, availability")),
            ("nature", "confidentiality,", None),
            ("subjects_number", "exact 12", Some("exact 12")),
            ("subjects_number", "approximate -3", None),
            ("subjects_number", "cannot_be_determined", Some("cannot_be_determined")),
            ("subjects_number", "cannot_be_determined 4", None),
            ("description", " a\nb ", Some("a\nb")),
            ("description", "a\u{1b}[2J", None),
            (
                "risk",
                "unknown: the assessment is not done",
                Some("unknown: the assessment is not done"),
            ),
            ("risk", "unknown:", None),
            ("description", "Unknown: we ask", Some("Unknown: we ask")),
            ("description", "unknown", None),
            ("description", "N/A: ", None),
            ("police", "unknown", Some("unknown")),
            ("aware", "2026-01-01", None),
            ("state", "complete", None),
        ] {
            let taken = Field::named(name).unwrap().take(answer).ok();
            assert_eq!(taken.as_deref(), expected, "{name} {answer:?}");
        }
    }
}
