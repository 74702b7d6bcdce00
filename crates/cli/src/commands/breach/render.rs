//! Reports for people.

use askama::Template;
use chrono::{DateTime, Local, SecondsFormat};
use edgepass_issuer::breach::Concerns;
use edgepass_issuer::breach::export::Export;
use edgepass_issuer::breach::facts::TokenFact;
use edgepass_issuer::breach::report::{Filled, FilledSource, FilledState, Report, stopped as told};
use edgepass_issuer::breach::uses::{Confidentiality, Seen, When};

/// What an incident is about.
pub(super) fn concerns(concerns: &Concerns) -> String {
    match concerns {
        Concerns::Tokens(ids) => match ids.as_slice() {
            [id] => format!("token {}", plain(id)),
            ids => format!("{} tokens", ids.len()),
        },
        Concerns::Client(name) => format!("client {}", plain(name)),
        Concerns::Role(name) => format!("role {}", plain(name)),
    }
}

/// A time in UTC, and here.
fn time(millis: u64) -> String {
    let at = i64::try_from(millis).ok().and_then(DateTime::from_timestamp_millis);
    let Some(at) = at else { return millis.to_string() };
    let utc = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let local = at.with_timezone(&Local).to_rfc3339_opts(SecondsFormat::Secs, false);
    format!("{utc} (local {local})")
}

fn maybe(millis: Option<u64>, none: &str) -> String {
    millis.map_or_else(|| none.to_owned(), time)
}

/// A text without what would change a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn source(field: &Filled) -> &'static str {
    match field.source {
        FilledSource::Person => "a person",
        FilledSource::Configuration => "configuration",
        FilledSource::Trail => "audit trail",
        FilledSource::Usage => "reported use",
        FilledSource::Calculated => "calculated",
        FilledSource::Nowhere => "-",
    }
}

/// The lines of a field.
fn lines(field: &Filled) -> Vec<String> {
    let hint = field.value.iter().map(|line| plain(line));
    match field.state {
        FilledState::Known => hint.collect(),
        FilledState::Unknown => hint.map(|line| format!("unknown: {line}")).collect(),
        FilledState::NotApplicable => hint.map(|line| format!("n/a: {line}")).collect(),
        FilledState::Open => {
            let choices = field.choices.iter().cloned();
            let asked = format!("OPEN: a person answers `{}`", field.name);
            std::iter::once(asked).chain(choices).chain(hint).collect()
        }
    }
}

/// What use says, in words.
fn disclosure(report: &Report) -> String {
    let uses = &report.facts.uses;
    let what = match uses.confidentiality {
        Confidentiality::Likely => "likely disclosed",
        Confidentiality::NotExfiltrated => "not disclosed, as far as guards report",
        Confidentiality::NotAssessable => "cannot be told",
    };
    format!("{what}: {}", plain(&uses.why))
}

fn stopped(report: &Report) -> String {
    let stop = &report.facts.stop;
    let what = told(&report.facts, report.made_ms);
    if report.facts.count == 0 || stop.live > 0 || stop.unpublished > 0 {
        let urgent = if report.facts.count > 0 { "NOT YET: " } else { "" };
        return format!("{urgent}{what}");
    }
    let bound = match (stop.revoked, stop.deadline_ms) {
        (0, _) => "bound: expiry, and 5 min of leeway".to_owned(),
        (_, Some(deadline)) => {
            format!(
                "bound: revocation and deadline of {deadline} ms, or expiry and 5 min of leeway"
            )
        }
        (_, None) => "bound: expiry, since guards have no deadline".to_owned(),
    };
    let late = match (stop.accepted_after_ms, stop.last_accepted_ms) {
        (Some(late), _) => {
            format!("; reported: last accepted at most {late} ms after a revocation")
        }
        (None, Some(_)) if stop.revoked > 0 => {
            "; reported: not accepted after its revocation".to_owned()
        }
        (None, _) => "; no guard has reported an acceptance".to_owned(),
    };
    format!("{what} ({bound}{late})")
}

/// A range of numbers.
fn range((least, most): (u64, u64)) -> String {
    if least == most { most.to_string() } else { format!("{least} to {most}") }
}

/// For a terminal.
pub(super) fn text(report: &Report) -> String {
    let (facts, clock) = (&report.facts, &report.clock);
    let late = if clock.is_late { "  LATE" } else { "" };
    let mut all = vec![
        format!("Incident:   {}", plain(&report.incident)),
        format!("About:      {}", concerns(&report.concerns)),
        format!("Reason:     {}", plain(&report.reason)),
        format!("Leaked:     {}", maybe(clock.leaked_ms, "nobody said")),
        format!("Aware:      {}", time(clock.aware_ms)),
        format!("Due:        {}{late}", time(clock.due_ms)),
        format!("Reports:    {}", report.phases.len()),
        format!("Tokens:     {}", facts.count),
        format!("Stopped:    {}", stopped(report)),
        format!(
            "Use:        {} accepted ({} after the leak), {} refused, as reported",
            facts.uses.accepted,
            range(facts.uses.after),
            facts.uses.refused
        ),
        format!("Disclosure: {}", disclosure(report)),
    ];
    for reach in &facts.reach {
        let scopes: Vec<&str> = reach.scopes.iter().map(|scope| scope.name.as_str()).collect();
        all.push(format!("Reach:      role {}: {}", plain(&reach.role), plain(&scopes.join(" "))));
    }
    let open: Vec<&Filled> = report.open().collect();
    if report.closed_ms.is_some() {
        all.push(format!("Closed:     {}", maybe(report.closed_ms, "")));
    }
    all.push(String::new());
    let how = match report.closed_ms {
        None => " (edgepass breach note ID --set FIELD=ANSWER)",
        Some(_) => "",
    };
    all.push(format!("{} fields are open{how}:", open.len()));
    for field in open {
        let choices = field.choices.as_deref().unwrap_or("a text");
        all.push(format!("  {}: {}: {}", field.name, field.title, choices));
        all.extend(field.value.iter().map(|hint| format!("    {}", plain(hint))));
    }
    all.join("\n")
}

#[derive(Template)]
#[template(path = "breach.html")]
struct Page<'r> {
    report: &'r Report,
    export: Option<&'r Export>,
}

impl Page<'_> {
    fn time(&self, millis: &u64) -> String {
        time(*millis)
    }

    fn maybe(&self, millis: &Option<u64>) -> String {
        maybe(*millis, "unknown")
    }

    fn lines(&self, field: &Filled) -> Vec<String> {
        lines(field)
    }

    /// The class of a field, so that what is open is seen.
    fn class(&self, field: &Filled) -> &'static str {
        match field.state {
            FilledState::Known => "known",
            FilledState::Open => "open",
            FilledState::Unknown => "unknown",
            FilledState::NotApplicable => "none",
        }
    }

    fn source(&self, field: &Filled) -> &'static str {
        source(field)
    }

    fn concerns(&self) -> String {
        concerns(&self.report.concerns)
    }

    fn stopped(&self) -> String {
        stopped(self.report)
    }

    fn disclosure(&self) -> String {
        disclosure(self.report)
    }

    fn range(&self, range: &(u64, u64)) -> String {
        self::range(*range)
    }

    fn when(&self, seen: &Seen) -> &'static str {
        match seen.when {
            When::Before => "before the leak",
            When::After => "after the leak",
            When::Both => "before and after",
            When::Unknown => "not known",
        }
    }

    fn name(&self, seen: &Seen) -> String {
        if seen.name.is_empty() { "others".to_owned() } else { plain(&seen.name) }
    }

    /// The places of use, each list with its title.
    fn places(&self) -> Vec<(&'static str, &Vec<Seen>)> {
        let uses = &self.report.facts.uses;
        vec![
            ("Country", &uses.countries),
            ("Network (AS)", &uses.networks),
            ("Route", &uses.routes),
            ("Refused with", &uses.refusals),
        ]
    }

    fn is_unused(&self) -> bool {
        self.places().iter().all(|(_, places)| places.is_empty())
    }

    fn use_of(&self, token: &TokenFact) -> String {
        match &token.uses {
            None => "none reported".to_owned(),
            Some(uses) => format!(
                "{} accepted ({} after the leak), {} refused",
                uses.accepted,
                self::range(uses.after),
                uses.refused
            ),
        }
    }

    fn joined(&self, items: &[String]) -> String {
        if items.is_empty() { "-".to_owned() } else { items.join(", ") }
    }

    fn open(&self) -> usize {
        self.report.open().count()
    }
}

/// As a page, with what proves it.
pub(super) fn html(report: &Report, export: Option<&Export>) -> anyhow::Result<String> {
    Ok(Page { report, export }.render()?)
}
