//! The forms of records of processing.

use askama::Template;
use edgepass_issuer::records::{Activity, Entry, Field, Measure, Record, Source};
use serde_json::{Map, Value, json};

use crate::output;

/// The text of a field, an item on each line.
fn lines(field: &Field) -> Vec<String> {
    match field {
        Field::Known(items) => items.clone(),
        Field::Unknown(why) => vec![format!("unknown: {why}")],
        Field::NotApplicable(why) => vec![format!("n/a: {why}")],
    }
}

fn source(measure: &Measure) -> &'static str {
    match measure.source {
        Source::Configured => "configured",
        Source::Measured => "measured",
        Source::Unknown => "unknown",
    }
}

fn heading(record: &Record) -> String {
    let part = if record.paragraph == "30(2)" { "processor" } else { "controller" };
    format!("{}, as {part}: record of processing by Art. {} GDPR", record.party, record.paragraph)
}

/// As Markdown.
pub(super) fn markdown(records: &[Record], made: &str) -> String {
    let mut text = String::new();
    let escaped = |text: &str| {
        let special = |char: char| "\\`*_{}[]<>#|&~".contains(char);
        let mut escaped = String::new();
        for char in text.chars().map(|char| if char.is_control() { ' ' } else { char }) {
            if special(char) {
                escaped.push('\\');
            }
            escaped.push(char);
        }
        escaped
    };
    let mut add = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let entry = |entry: &Entry| {
        format!(
            "| {} | {} | {} |",
            entry.article,
            entry.title,
            lines(&entry.field).iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br>")
        )
    };
    for record in records {
        add(format!("# {}\n", escaped(&heading(record))));
        add(format!("Made {made}.\n\n| Art. | field | content |\n| --- | --- | --- |"));
        record.entries.iter().for_each(|one| add(entry(one)));
        for Activity { agreement, roles, entries } in &record.activities {
            add(format!(
                "\n## Agreement {}\n\nRoles: {}\n",
                escaped(agreement),
                escaped(&roles.join(", "))
            ));
            add("| Art. | field | content |\n| --- | --- | --- |".to_owned());
            entries.iter().for_each(|one| add(entry(one)));
        }
        let letter = if record.paragraph == "30(2)" { "(d)" } else { "(g)" };
        add(format!("\n## Measures: Art. {}{letter}, 32(1)\n", record.paragraph));
        add("| measure | what holds | source |\n| --- | --- | --- |".to_owned());
        for measure in &record.measures {
            add(format!(
                "| {} | {} | {} |",
                measure.title,
                escaped(&measure.text),
                source(measure)
            ));
        }
        add(String::new());
    }
    text
}

#[derive(Template)]
#[template(path = "art30.html")]
struct Page<'r> {
    records: &'r [Record],
    made: &'r str,
}

impl Page<'_> {
    fn heading(&self, record: &Record) -> String {
        heading(record)
    }

    fn lines(&self, entry: &Entry) -> Vec<String> {
        lines(&entry.field)
    }

    /// The class of a field, so that what is missing is seen.
    fn class(&self, entry: &Entry) -> &'static str {
        match entry.field {
            Field::Known(_) => "known",
            Field::Unknown(_) => "unknown",
            Field::NotApplicable(_) => "none",
        }
    }

    fn source(&self, measure: &Measure) -> &'static str {
        source(measure)
    }
}

/// As a page.
pub(super) fn html(records: &[Record], made: &str) -> anyhow::Result<String> {
    Ok(Page { records, made }.render()?)
}

/// As JSON-LD: each field under its property of DPV 2.3, with its article.
pub(super) fn json(records: &[Record], made: &str) -> Value {
    let entries = |entries: &[Entry]| -> Map<String, Value> {
        let mut members: Map<String, Value> = Map::new();
        for one in entries {
            let value = match &one.field {
                Field::Known(items) => json!(items),
                Field::Unknown(why) => {
                    json!({ "@type": "dpv:NotAvailable", "edgepass:reason": why })
                }
                Field::NotApplicable(why) => {
                    json!({ "@type": "dpv:NotApplicable", "edgepass:reason": why })
                }
            };
            let field = json!({ "edgepass:article": one.article, "edgepass:title": one.title, "edgepass:content": value });
            match members.get_mut(one.dpv) {
                Some(Value::Array(fields)) => fields.push(field),
                _ => drop(members.insert(one.dpv.to_owned(), json!([field]))),
            }
        }
        members
    };
    let activity = |one: &Activity| {
        let mut members = entries(&one.entries);
        members.insert("@type".to_owned(), "dpv:Process".into());
        members.insert("edgepass:agreement".to_owned(), one.agreement.clone().into());
        members.insert("edgepass:roles".to_owned(), json!(one.roles));
        Value::Object(members)
    };
    let measure = |one: &Measure| json!({ "@type": one.dpv, "edgepass:title": one.title, "edgepass:content": one.text, "edgepass:source": source(one) });
    let record = |one: &Record| {
        let mut members = entries(&one.entries);
        let part =
            if one.paragraph == "30(2)" { "dpv:DataProcessor" } else { "dpv:DataController" };
        members.insert("@type".to_owned(), part.into());
        members.insert("edgepass:paragraph".to_owned(), one.paragraph.into());
        members.insert("dpv:hasProcess".to_owned(), one.activities.iter().map(activity).collect());
        members.insert(
            "dpv:hasTechnicalOrganisationalMeasure".to_owned(),
            one.measures.iter().map(measure).collect(),
        );
        Value::Object(members)
    };
    json!({
        "@type": "dpv:ROPA",
        "@context": { "dpv": "https://w3id.org/dpv#", "edgepass": "https://edgepass.example/terms#" },
        "edgepass:made": made,
        "edgepass:vocabulary": "DPV 2.3",
        "edgepass:records": records.iter().map(record).collect::<Vec<Value>>(),
    })
}

/// As comma-separated values.
pub(super) fn csv(records: &[Record]) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut add = |row: [&str; 7]| -> anyhow::Result<()> {
        text.push_str(&output::csv_line(row.map(str::to_owned))?);
        text.push('\n');
        Ok(())
    };
    add(["party", "paragraph", "agreement", "article", "field", "state", "content"])?;
    let state = |field: &Field| match field {
        Field::Known(_) => "known",
        Field::Unknown(_) => "unknown",
        Field::NotApplicable(_) => "n/a",
    };
    let content = |field: &Field| match field {
        Field::Known(items) => items.join("; "),
        Field::Unknown(why) | Field::NotApplicable(why) => why.clone(),
    };
    for record in records {
        let of_party = record.entries.iter().map(|entry| ("", entry));
        let of_activities = record
            .activities
            .iter()
            .flat_map(|one| one.entries.iter().map(|entry| (one.agreement.as_str(), entry)));
        for (agreement, entry) in of_party.chain(of_activities) {
            let (state, content) = (state(&entry.field), content(&entry.field));
            add([
                &record.party,
                record.paragraph,
                agreement,
                entry.article,
                entry.title,
                state,
                &content,
            ])?;
        }
        for measure in &record.measures {
            add([
                &record.party,
                record.paragraph,
                "",
                "32(1)",
                measure.title,
                source(measure),
                &measure.text,
            ])?;
        }
    }
    Ok(text)
}
