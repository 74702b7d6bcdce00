//! Writes how lists, publication and revocation grow, as tables.

use std::fmt::Write as _;

use anyhow::Context;
use serde_json::Value;

/// Write both sections of the page: status lists and publishing.
pub(super) fn tables(text: &mut String, scale: &Value) -> anyhow::Result<()> {
    lists(text, scale)?;
    issuer(text, scale)
}

fn lists(text: &mut String, scale: &Value) -> anyhow::Result<()> {
    let rows = "\
## Status lists, by live tokens and the share of them that is revoked

In lists of 131,072 entries of one bit. The bytes of `lst` after zlib, and on the wire after gzip, are
relative to the entropy of the tokens' statuses, `n H(p) / 8`. They exclude the rest of a list (header,
claims, signature), about 400 bytes each. Ten thousand tokens fill a thirteenth of a list, which encodes
all its entries, so the number in brackets is `lst` relative to the entropy of all entries. Memory is
that of an isolate that holds all lists. A lookup reads a random index of the next list.

| live tokens | revoked | lists | the bound | `lst` | | on the wire | | in memory | a lookup |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
";
    text.push_str(rows);
    for row in scale.as_array().context("no scale")? {
        let tokens = row["tokens"].as_u64().context("tokens")?;
        for list in row["lists"].as_array().into_iter().flatten() {
            let number = |name: &str| list[name].as_f64().with_context(|| format!("no {name}"));
            writeln!(
                text,
                "| {} | {} % | {} | {} | {} | {:.2} ({:.2}) | {} | {:.2} | {} | {:.0} ns |",
                grouped(tokens as f64),
                number("share")? * 100.0,
                number("lists")?,
                bytes(number("bound")?),
                bytes(number("lst")?),
                number("lst_over_bound")?,
                number("lst_over_covered")?,
                bytes(number("wire")?),
                number("wire_over_bound")?,
                bytes(number("memory")?),
                number("lookup_ns")?,
            )?;
        }
    }
    writeln!(text)?;
    Ok(())
}

fn issuer(text: &mut String, scale: &Value) -> anyhow::Result<()> {
    let rows = "\
## Publishing, by live tokens

On the issuer's own storage, one hundredth of the tokens revoked. One revocation is timed from the call
until the edition that shows it is served; it changes one list only. Then one command revokes a tenth of
all tokens by role, while tokens of another role are issued one after the other.

| live tokens | all lists, at start | one revocation | at most | a tenth: recorded | and served | tokens issued meanwhile | each takes | 99 % | at most |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
";
    text.push_str(rows);
    for row in scale.as_array().context("no scale")? {
        let issuer = &row["issuer"];
        let number = |value: &Value| value.as_f64().context("a number is missing");
        let bulk = |name: &str| number(&issuer["bulk"][name]);
        writeln!(
            text,
            "| {} | {:.2} s | {:.1} ms | {:.1} ms | {:.2} s | {:.2} s | {} | {:.1} ms | {:.0} ms | {:.0} ms |",
            grouped(number(&row["tokens"])?),
            number(&issuer["publish_all_s"])?,
            number(&issuer["publish_one_ms"])?,
            number(&issuer["publish_one_max_ms"])?,
            bulk("carried_out_s")?,
            bulk("published_s")?,
            bulk("issued_meanwhile")?,
            bulk("issue_p50_ms")?,
            bulk("issue_p99_ms")?,
            bulk("issue_max_ms")?,
        )?;
    }
    writeln!(text)?;
    Ok(())
}

/// Formats bytes, from 10,000 on in kilobytes.
fn bytes(count: f64) -> String {
    if count < 10_000.0 { format!("{count:.0} B") } else { format!("{:.1} KB", count / 1000.0) }
}

/// Formats a whole number with commas between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let start = digits.len() % 3;
    let (first, rest) = digits.split_at(start);
    let mut parts: Vec<String> =
        rest.as_bytes().chunks(3).map(|three| String::from_utf8_lossy(three).into()).collect();
    if !first.is_empty() {
        parts.insert(0, first.to_owned());
    }
    parts.join(",")
}
