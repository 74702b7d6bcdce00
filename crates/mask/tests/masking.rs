//! Masking by examples, against an implementation of RFC 9535 by others, and in pieces of any size.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::sync::Arc;

use edgepass_mask::{Format, HashKey, MaskError, Masker, Plan, Rule, With};
use fastrand::Rng;
use serde_json::Value;
use serde_json_path::JsonPath;

fn plan(rules: &[(&str, With)]) -> Arc<Plan> {
    let rule = |(path, with): &(&str, With)| Rule { path: path.parse().unwrap(), with: *with };
    Arc::new(Plan::new(&rules.iter().map(rule).collect::<Vec<_>>()).unwrap())
}

/// Masks a body in pieces that end at these positions.
fn in_pieces(
    plan: &Arc<Plan>,
    format: Format,
    body: &[u8],
    ends: &[usize],
) -> (Vec<u8>, Result<(), MaskError>) {
    let key = HashKey::new(b"a key of thirty-two octets, say.", "https://issuer.example", "dpa-1");
    let mut masker = Masker::new(Arc::clone(plan), u32::MAX, format, Some(key));
    let (mut out, mut from) = (Vec::new(), 0);
    for end in ends.iter().copied().chain([body.len()]) {
        if let Err(error) = masker.feed(&body[from..end], &mut out) {
            return (out, Err(error));
        }
        from = end;
    }
    let ended = masker.finish(&mut out);
    (out, ended)
}

fn masked(plan: &Arc<Plan>, format: Format, body: &str) -> Result<String, MaskError> {
    let (out, ended) = in_pieces(plan, format, body.as_bytes(), &[]);
    // Every cut in two, and octet by octet, gives the same octets.
    let all: Vec<usize> = (0..body.len()).collect();
    for cut in (0..body.len()).map(|cut| vec![cut]).chain([all]) {
        let (again, other) = in_pieces(plan, format, body.as_bytes(), &cut);
        assert_eq!((&again, other), (&out, ended), "{body} cut at {cut:?}");
    }
    ended.map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn values_are_masked_and_all_else_stays_as_it_was() {
    use With::{Email, Hash, Last4, Null, Remove};
    let long = "x".repeat(300);
    for (rules, body, expected) in [
        (&[("$.a", Null)][..], r#"{"a":1,"b":2}"#, r#"{"a":null,"b":2}"#),
        (
            &[("$.a", Null)],
            r#"{ "b" : 1e400 , "a" : {"x": [1, "}"]} }"#,
            r#"{ "b" : 1e400 , "a" : null }"#,
        ),
        (&[("$.a", Remove)], r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        (&[("$.a", Remove)], r#"{"a":1, "b":2}"#, r#"{ "b":2}"#),
        (&[("$.b", Remove)], r#"{"a":1, "b":2}"#, r#"{"a":1}"#),
        (&[("$.b", Remove)], "{\"a\":1 ,\n \"b\" : 2 , \"c\":3}", r#"{"a":1  , "c":3}"#),
        (&[("$.*", Remove)], r#"{"a":1, "b":{"c":2} }"#, "{ }"),
        (&[("$[0]", Remove)], "[1, 2, 3]", "[ 2, 3]"),
        (&[("$[1]", Remove)], "[1, 2, 3]", "[1, 3]"),
        (&[("$[2]", Remove)], "[1, 2, 3]", "[1, 2]"),
        (&[("$[*]", Remove)], "[1, 2, 3]", "[]"),
        (
            &[("$..email", Email)],
            r#"[{"email":"ada@example.com"},{"x":{"email":"b"}}]"#,
            r#"[{"email":"a***@example.com"},{"x":{"email":"***"}}]"#,
        ),
        (&[("$..email", Email)], r#"{"email":["ada@example.com"]}"#, r#"{"email":null}"#),
        // Names as a reader understands them.
        (&[("$.email", Null)], r#"{"\u0065m\u0061il":"x"}"#, r#"{"\u0065m\u0061il":null}"#),
        (&[("$['a/b']", Null)], r#"{"a\/b":"x"}"#, r#"{"a\/b":null}"#),
        (&[("$['😀']", Null)], r#"{"\ud83d\ude00":1}"#, r#"{"\ud83d\ude00":null}"#),
        (&[("$.Email", Null)], r#"{"email":1}"#, r#"{"email":1}"#),
        (&[("$.a", Last4)], r#"{"a":"DE02120300000000202051"}"#, r#"{"a":"****2051"}"#),
        (&[("$.a", Last4)], r#"{"a":"1234567"}"#, r#"{"a":"****"}"#),
        (&[("$.a", Last4)], r#"{"a":4111111111111111,"b":0}"#, r#"{"a":"****1111","b":0}"#),
        (&[("$.a", Last4)], r#"{"a":"xxxxxx\"\\é\n"}"#, "{\"a\":\"****\\\"\\\\é\\u000a\"}"),
        (&[("$.a", Last4)], r#"{"a":true}"#, r#"{"a":null}"#),
        // What is inside is not looked at any more.
        (&[("$.a", Null), ("$.a.b", Hash)], r#"{"a":{"b":1,"b":2}}"#, r#"{"a":null}"#),
        (&[("$.a.b", Null)], r#"{"a":[{"b":1}],"b":1}"#, r#"{"a":[{"b":1}],"b":1}"#),
        (&[("$..a", Null)], r#"{"a":1,"b":{"a":{"a":2}}}"#, r#"{"a":null,"b":{"a":null}}"#),
        (
            &[("$.a..b[0]", Null)],
            r#"{"a":{"c":{"b":[1,2]},"b":[3]},"b":[4]}"#,
            r#"{"a":{"c":{"b":[null,2]},"b":[null]},"b":[4]}"#,
        ),
        (&[("$.a", Email)], r#"{"a":"Ada <ada@example.com> +49 30"}"#, r#"{"a":"***"}"#),
        (&[("$.a", Email)], r#"{"a":"call @ada, born 1815"}"#, r#"{"a":"***"}"#),
        (&[("$.a", Email)], r#"{"a":"a@b@münchen.example"}"#, r#"{"a":"***"}"#),
        (&[("$.a", Email)], r#"{"a":"ä@münchen.example"}"#, r#"{"a":"ä***@münchen.example"}"#),
        (&[("$.a", Null)], " [] ", " [] "),
        (&[("$.a", Null)], "12", "12"),
        (&[("$.a", Null)], r#""\ud800""#, r#""\ud800""#),
        (
            &[("$.a", Null)],
            &format!("{{\"{long}\":\"{long}\"}}"),
            &format!("{{\"{long}\":\"{long}\"}}"),
        ),
    ] {
        assert_eq!(
            masked(&plan(rules), Format::Json, body).as_deref(),
            Ok(expected),
            "{rules:?} {body}"
        );
    }
}

#[test]
fn a_hash_is_the_same_for_the_same_value_and_agreement_alone() {
    let plan = plan(&[("$..id", With::Hash)]);
    let of = |secret: &[u8], agreement: &str, body: &str| {
        let key = HashKey::new(secret, "https://issuer.example", agreement);
        let mut masker = Masker::new(Arc::clone(&plan), u32::MAX, Format::Json, Some(key));
        let mut out = Vec::new();
        masker.feed(body.as_bytes(), &mut out).unwrap();
        masker.finish(&mut out).unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        out["id"].as_str().unwrap().to_owned()
    };
    let one = of(b"k", "dpa-1", r#"{"id":"customer-7"}"#);
    assert_eq!(one.len(), 22);
    assert_eq!(
        one,
        of(b"k", "dpa-1", r#"{"x":0,"id":"custome\u0072-7"}"#),
        "as a reader understands it"
    );
    for other in [
        of(b"k", "dpa-2", r#"{"id":"customer-7"}"#),
        of(b"l", "dpa-1", r#"{"id":"customer-7"}"#),
        of(b"k", "dpa-1", r#"{"id":"customer-8"}"#),
    ] {
        assert_ne!(one, other);
    }
    let mut masker = Masker::new(Arc::clone(&plan), u32::MAX, Format::Json, None);
    let mut out = Vec::new();
    masker.feed(br#"{"id":"customer-7"}"#, &mut out).unwrap();
    assert_eq!(out, br#"{"id":null}"#, "without a key");
}

#[test]
fn much_for_little_comes_in_parts() {
    const MOST: usize = 16 * 1024;
    let plan = plan(&[("$[*]", With::Hash)]);
    let blanks = " ".repeat(62_000);
    let body = format!("[{}{blanks}{}1]", "1,".repeat(50_000), "1,".repeat(2048));
    let (whole, ended) = in_pieces(&plan, Format::Json, body.as_bytes(), &[]);
    assert_eq!(ended, Ok(()));
    let key = HashKey::new(b"a key of thirty-two octets, say.", "https://issuer.example", "dpa-1");
    let mut masker = Masker::new(plan, u32::MAX, Format::Json, Some(key));
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let mut out = Vec::new();
        at += masker.feed_some(&body.as_bytes()[at..], MOST, &mut out).unwrap();
        assert!(out.len() < MOST + 128 * 1024);
        parts.extend(out);
    }
    masker.finish(&mut parts).unwrap();
    assert_eq!(parts, whole);
}

#[test]
fn what_is_removed_or_null_may_be_of_any_length() {
    let long = "y".repeat(100_000);
    let body = format!(r#"{{"a":"{long}","b":"\n{long}","c":"{long}"}}"#);
    let all = plan(&[("$.a", With::Remove), ("$.b", With::Null), ("$.c", With::Last4)]);
    for ends in [vec![], vec![50_000, 70_000, 150_000]] {
        assert_eq!(
            in_pieces(&all, Format::Json, body.as_bytes(), &ends).1,
            Err(MaskError::TooLong)
        );
        let some = plan(&[("$.a", With::Remove), ("$.b", With::Null), ("$.c", With::Null)]);
        let (out, ended) = in_pieces(&some, Format::Json, body.as_bytes(), &ends);
        assert_eq!((&*out, ended), (&br#"{"b":null,"c":null}"#[..], Ok(())));
    }
}

#[test]
fn what_is_no_json_is_an_error() {
    let plan = plan(&[("$.a", With::Null), ("$..b.c", With::Null)]);
    for body in [
        "",
        " \n",
        "{",
        "[",
        "[1",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "[-]",
        "[1.]",
        "[01]",
        "[1.,2]",
        "[nul1,2]",
        "[1}",
        "{\"x\":{\"y\":[1},\"a\":2}",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "tru",
        "truex",
        "nul",
        "NaN",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\u{1}\"",
        "\"\n\"",
        "{}{}",
        "{} x",
        "]",
        "}",
        "[}",
        "{]",
        "\u{feff}{}",
        "<html>",
        "/**/{}",
        "{\"a\":1}\n{\"a\":1}",
        "[1],",
    ] {
        assert_eq!(masked(&plan, Format::Json, body), Err(MaskError::NotJson), "{body:?}");
    }
    for octets in [
        &b"\"\xff\""[..],
        b"\"\xc0\x80\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\"\xc3\"",
        b"\"\xe2\x82\"",
        b"\xc3\xa9",
    ] {
        assert_eq!(
            in_pieces(&plan, Format::Json, octets, &[]).1,
            Err(MaskError::NotJson),
            "{octets:?}"
        );
    }
    for (body, error) in [
        (r#"{"a":1,"a":2}"#, MaskError::Repeated),
        (r#"{"a":1,"\u0061":2}"#, MaskError::Repeated),
        (r#"{"b":{"c":1},"b":{"x":1}}"#, MaskError::Repeated),
    ] {
        assert_eq!(masked(&plan, Format::Json, body), Err(error), "{body}");
    }
    // Of names that no rule looks for, nothing is said.
    assert!(masked(&plan, Format::Json, r#"{"x":{"a":1,"a":2}}"#).is_ok());
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    assert_eq!(in_pieces(&plan, Format::Json, deep.as_bytes(), &[]).1, Err(MaskError::TooDeep));
    let long = format!("{{\"{}\":1}}", "x".repeat(70_000));
    assert_eq!(in_pieces(&plan, Format::Json, long.as_bytes(), &[]).1, Err(MaskError::TooLong));
}

#[test]
fn an_error_shows_nothing_that_is_masked() {
    let plan = plan(&[("$..secret", With::Remove), ("$..mail", With::Email)]);
    let body =
        r#"{"x":[{"secret":"TOP"},{"mail":"TOP@example.com"}],"secret":{"a":"TOP"},"mail":"TOP"#;
    for cut in 0..body.len() {
        let (out, _) = in_pieces(&plan, Format::Json, &body.as_bytes()[..cut], &[]);
        assert!(!String::from_utf8(out).unwrap().contains("TOP"), "{cut}");
    }
}

#[test]
fn lines_and_events_hold_a_document_each() {
    let plan = plan(&[("$.a", With::Null)]);
    let lines = "{\"a\":1}\n\n{\"a\":2,\"b\":3}\r\n 7\n";
    assert_eq!(
        masked(&plan, Format::Lines, lines).unwrap(),
        "{\"a\":null}\n\n{\"a\":null,\"b\":3}\r\n 7\n"
    );
    assert_eq!(masked(&plan, Format::Lines, "").unwrap(), "");
    assert_eq!(masked(&plan, Format::Lines, "{} {}"), Err(MaskError::NotJson));
    assert_eq!(masked(&plan, Format::Lines, "{}\n{"), Err(MaskError::NotJson));
    // A reader of lines would take each of these for a document.
    for lines in ["[\n{\"a\":1}\n]", "{\"a\":\n1}", "{}\n[1,\n2]"] {
        assert_eq!(masked(&plan, Format::Lines, lines), Err(MaskError::NotJson), "{lines:?}");
    }
    assert_eq!(masked(&plan, Format::Lines, "\n\n{}\r\n\n{}").as_deref(), Ok("\n\n{}\r\n\n{}"));
    let events = ": hello\nevent: x\nid: 7\ndata: {\"a\":1}\n\ndata:{\"a\":[1],\"b\":2}\r\n\r\nretry: 5\ndata\ndata:\n\ndata: 12";
    let expected = ": hello\nevent: x\nid: 7\ndata: {\"a\":null}\n\ndata:{\"a\":null,\"b\":2}\r\n\r\nretry: 5\ndata\ndata:\n\ndata: 12";
    assert_eq!(masked(&plan, Format::Events, events).unwrap(), expected);
    for events in [
        "data: {\"a\":\ndata: 1}\n\n",
        "data: [DONE]\n\n",
        "data: {\"a\":1",
        "datax: {\"a\":1}\n\n",
        "\u{feff}data: {\"a\":1}\n\n",
        "{\"a\":1}",
        "Data: {\"a\":1}\n",
        " data: 1\n",
    ] {
        assert_eq!(masked(&plan, Format::Events, events), Err(MaskError::NotJson), "{events:?}");
    }
}

/// A random document.
fn document(rng: &mut Rng, depth: u32) -> Value {
    let name = |rng: &mut Rng| ["a", "b", "c", "é", "a b", "0"][rng.usize(0..6)].to_owned();
    match rng.u32(0..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => rng.i64(-1_000_000..1_000_000).into(),
        3 => (f64::from(rng.i32(-80_000..80_000)) / 8.0).into(),
        4 => {
            let signs = ['x', '"', '\\', '@', 'é', '😀', '\n', '/', '1'];
            (0..rng.usize(0..12))
                .map(|_| signs[rng.usize(0..signs.len())])
                .collect::<String>()
                .into()
        }
        5 | 6 => (0..rng.usize(0..4)).map(|_| document(rng, depth - 1)).collect::<Vec<_>>().into(),
        _ => {
            let members = (0..rng.usize(0..4)).map(|_| (name(rng), document(rng, depth - 1)));
            Value::Object(members.collect())
        }
    }
}

/// A random path of the subset, as text.
fn path(rng: &mut Rng) -> String {
    let segment = |rng: &mut Rng| {
        let of =
            ["a", "b", "é", "*", "['a b']", "['0']", "[0]", "[1]", "[*]", "c"][rng.usize(0..10)];
        match (rng.u32(0..4), of.starts_with('[')) {
            (0, _) => format!("..{of}"),
            (_, true) => of.to_owned(),
            (_, false) => format!(".{of}"),
        }
    };
    (0..rng.usize(1..4)).fold("$".to_owned(), |path, _| path + &segment(rng))
}

/// Masks by the other implementation: `None` for a value that goes.
fn reference(value: &Value, at: &str, rules: &[(Vec<String>, With)]) -> Option<Value> {
    let with = rules
        .iter()
        .find(|(places, _)| places.iter().any(|place| place == at))
        .map(|(_, with)| *with);
    let text = match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match (with, text) {
        (Some(With::Remove), _) => return None,
        (Some(With::Last4), Some(text)) => {
            let signs: Vec<char> = text.chars().collect();
            let last = if signs.len() < 8 {
                String::new()
            } else {
                signs[signs.len() - 4..].iter().collect()
            };
            return Some(format!("****{last}").into());
        }
        (Some(With::Email), Some(text)) => {
            let mut parts = text.splitn(2, '@');
            let (name, domain) = (parts.next().unwrap(), parts.next().unwrap_or_default());
            let is_odd = |sign: char| !(sign.is_alphanumeric() || ".-".contains(sign));
            return Some(match name.chars().next() {
                Some(first) if !domain.is_empty() && !domain.contains(is_odd) => {
                    format!("{first}***@{domain}").into()
                }
                _ => "***".into(),
            });
        }
        (Some(_), _) => return Some(Value::Null),
        (None, _) => {}
    }
    Some(match value {
        Value::Array(items) => {
            let kept = items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| reference(item, &format!("{at}/{index}"), rules));
            kept.collect::<Vec<_>>().into()
        }
        Value::Object(members) => {
            let kept = members.iter().filter_map(|(name, item)| {
                Some((name.clone(), reference(item, &format!("{at}/{name}"), rules)?))
            });
            Value::Object(kept.collect())
        }
        other => other.clone(),
    })
}

#[test]
fn it_masks_what_another_implementation_of_the_paths_finds() {
    // A million, once: EDGEPASS_DOCUMENTS=1000000
    let documents = std::env::var("EDGEPASS_DOCUMENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let rng = &mut Rng::with_seed(9);
    let mut masked_values = 0_u64;
    for number in 0..documents {
        let members =
            (0..rng.usize(1..5)).map(|at| (["a", "b", "é", "0"][at].to_owned(), document(rng, 4)));
        let value = Value::Object(members.collect());
        let texts: Vec<String> = (0..rng.usize(1..4)).map(|_| path(rng)).collect();
        let withs: Vec<With> = texts
            .iter()
            .map(|_| [With::Remove, With::Null, With::Last4, With::Email][rng.usize(0..4)])
            .collect();
        let rules: Vec<(&str, With)> = texts.iter().map(String::as_str).zip(withs).collect();
        let found: Vec<(Vec<String>, With)> = rules
            .iter()
            .map(|(text, with)| {
                let nodes = JsonPath::parse(text).unwrap().query_located(&value);
                let places = nodes.locations().map(|place| {
                    place.iter().fold(String::new(), |at, element| match element.as_name() {
                        Some(name) => format!("{at}/{name}"),
                        None => format!("{at}/{}", element.as_index().unwrap()),
                    })
                });
                (places.collect(), *with)
            })
            .collect();
        masked_values += found.iter().map(|(places, _)| places.len() as u64).sum::<u64>();
        let expected = reference(&value, "", &found).unwrap();
        let body = if rng.bool() {
            value.to_string()
        } else {
            serde_json::to_string_pretty(&value).unwrap()
        };
        let plan = plan(&rules);
        let (out, ended) = in_pieces(&plan, Format::Json, body.as_bytes(), &[]);
        assert_eq!(ended, Ok(()), "{rules:?} {body}");
        let got: Value = serde_json::from_slice(&out).unwrap_or_else(|error| {
            panic!("{error}: {rules:?} {body} -> {}", String::from_utf8_lossy(&out))
        });
        assert_eq!(got, expected, "document {number}: {rules:?} {body}");
        let mut cuts: Vec<usize> =
            (0..rng.usize(0..6)).map(|_| rng.usize(0..=body.len())).collect();
        cuts.sort_unstable();
        assert_eq!(
            in_pieces(&plan, Format::Json, body.as_bytes(), &cuts).0,
            out,
            "{cuts:?} {rules:?} {body}"
        );
    }
    assert!(masked_values > documents / 2, "{masked_values} values");
}

#[test]
fn no_octets_make_it_panic_and_what_it_accepts_is_json() {
    // Where a rule looks for an index, no element is taken as a whole.
    let plans = [
        plan(&[("$..a", With::Remove), ("$.b[*]", With::Last4)]),
        plan(&[("$..a", With::Last4), ("$.b", With::Null)]),
        plan(&[("$..a[0]", With::Remove)]),
    ];
    let rng = &mut Rng::with_seed(3);
    let signs = b"{}[]\",:\\aub0123.eE+- \n\t\rtrefalsn\xc3\xa9\xf0\x9f\x98\x80";
    let tokens =
        ["{\"a\":", "{\"b\":", ",\"a\":", ",\"x\":", "[", "]", "}", ",", "1", "true", "\"b\"", " "];
    for round in 0..300_000 {
        let plan = &plans[round % plans.len()];
        let length = rng.usize(0..24);
        let body: Vec<u8> = if round % 2 == 0 {
            (0..length).map(|_| signs[rng.usize(0..signs.len())]).collect()
        } else {
            (0..length).flat_map(|_| tokens[rng.usize(0..tokens.len())].bytes()).collect()
        };
        let (out, ended) = in_pieces(plan, Format::Json, &body, &[]);
        let shown = String::from_utf8_lossy(&body);
        let octets: Vec<usize> = (0..body.len()).collect();
        let again = in_pieces(plan, Format::Json, &body, &octets);
        assert_eq!(again, (out.clone(), ended), "{shown:?}, octet by octet");
        if ended.is_ok() && !body.is_empty() {
            assert!(
                serde_json::from_slice::<Value>(&out).is_ok()
                    || body.iter().all(u8::is_ascii_whitespace),
                "{shown:?}"
            );
        }
    }
}

#[test]
fn blanks_are_looked_at_once() {
    // Were each a reason to look at all that follow, this would take hours.
    let plan = plan(&[("$..a", With::Null)]);
    let blanks = " ".repeat(4 << 20);
    for body in [
        format!("[{blanks}1{blanks}]"),
        format!("{{{blanks}\"x\":1{blanks}}}"),
        format!("{blanks}1{blanks}"),
    ] {
        assert_eq!(
            in_pieces(&plan, Format::Json, body.as_bytes(), &[]),
            (body.clone().into_bytes(), Ok(()))
        );
    }
}
