//! The values that a policy expects of a claim.
//!
//! ```text
//! "access"                        this text, or an array that contains it
//! true, 2                         this boolean or number, or an array that contains it
//! ["a", "b"], {"any": ["a", "b"]} one of these
//! {"all": ["a", "b"]}             an array that contains all of these
//! {"like": "refs/heads/*"}        a text of this pattern, or an array that contains one
//! {"like": ["a/*", "b/**"]}       a text of one of these patterns
//! ```
//!
//! In a pattern, `*` stands for any characters except `/`, also for none, and `**` for any
//! characters. Everything else stands for itself. The pattern must cover the whole text.

use edgepass_jose::flat::ValueRef;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::scope_claims::one_or_many;

/// The expected values of one claim, as written. See the module's text for the forms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// The claim equals, or its array contains, at least one of these.
    Any(Vec<ExpectedValue>),
    /// The claim's array contains all of these. A claim that is no array is an array of itself.
    All(Vec<ExpectedValue>),
    /// The claim, or an item of its array, has at least one of these patterns.
    Like(Vec<String>),
}

/// One expected value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExpectedValue {
    /// A string.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// A number. Compared by its value: `2` equals `2.0`.
    Number(Number),
}

impl Expected {
    /// Whether no value at all is expected, so that none could be right.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Any(values) | Self::All(values) => values.is_empty(),
            Self::Like(patterns) => patterns.is_empty(),
        }
    }

    /// Whether a claim has the expected values.
    pub(crate) fn fits(&self, claim: ValueRef<'_>) -> bool {
        match self {
            Self::Any(values) => values.iter().any(|value| has(claim, |item| value.is(item))),
            Self::All(values) => values.iter().all(|value| has(claim, |item| value.is(item))),
            Self::Like(patterns) => has(claim, |item| {
                let text = item.as_str();
                text.is_some_and(|text| patterns.iter().any(|pattern| is_like(text, pattern)))
            }),
        }
    }
}

/// Whether the claim is the value that is sought, or an array that contains it.
fn has(claim: ValueRef<'_>, is_it: impl Fn(ValueRef<'_>) -> bool) -> bool {
    match claim.as_array() {
        Some(mut items) => items.any(is_it),
        None => is_it(claim),
    }
}

impl ExpectedValue {
    fn is(&self, value: ValueRef<'_>) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Bool(expected) => value.as_bool() == Some(*expected),
            Self::Number(expected) => value.as_number().is_some_and(|number| {
                number == expected
                    || number.as_f64() == expected.as_f64()
                        && (number.is_f64() || expected.is_f64())
            }),
        }
    }
}

/// Whether `text` has the form `pattern`.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut at, mut next) = (0_usize, 0_usize);
    // For `*` and for `**`: the place in the pattern after the last one, and the place in the text
    // up to which that one reaches so far.
    let (mut within, mut across) = (None::<(usize, usize)>, None::<(usize, usize)>);
    loop {
        let rest = pattern.get(next..).unwrap_or_default();
        if rest.starts_with(b"**") {
            next = next.saturating_add(2);
            (across, within) = (Some((next, at)), None);
            continue;
        }
        if rest.first() == Some(&b'*') {
            next = next.saturating_add(1);
            within = Some((next, at));
            continue;
        }
        match (rest.first(), text.get(at)) {
            (None, None) => return true,
            (Some(sign), Some(byte)) if sign == byte => {
                (at, next) = (at.saturating_add(1), next.saturating_add(1));
                continue;
            }
            _ => {}
        }
        // The last `*` takes one more byte, unless that is a slash; else the last `**` does.
        let longer = |star: Option<(usize, usize)>, crosses: bool| {
            let (after, end) = star?;
            let byte = text.get(end)?;
            (crosses || *byte != b'/').then(|| (after, end.saturating_add(1)))
        };
        if let Some(star) = longer(within, false) {
            within = Some(star);
            (next, at) = star;
        } else if let Some(star) = longer(across, true) {
            (across, within) = (Some(star), None);
            (next, at) = star;
        } else {
            return false;
        }
    }
}

impl Expected {
    /// Reads the expected values of a claim. `None` if they have another form.
    fn read(written: Value) -> Option<Self> {
        let object = match written {
            Value::Object(object) => object,
            one_or_many => return values(one_or_many).map(Self::Any),
        };
        let mut members = object.into_iter();
        let ((name, written), None) = (members.next()?, members.next()) else { return None };
        let values = values(written)?;
        match name.as_str() {
            "any" => Some(Self::Any(values)),
            "all" => Some(Self::All(values)),
            "like" => {
                let mut patterns = Vec::new();
                for value in values {
                    match value {
                        ExpectedValue::Text(pattern) => patterns.push(pattern),
                        ExpectedValue::Bool(_) | ExpectedValue::Number(_) => return None,
                    }
                }
                Some(Self::Like(patterns))
            }
            _ => None,
        }
    }
}

/// Reads one value or an array of values.
fn values(written: Value) -> Option<Vec<ExpectedValue>> {
    let mut values = Vec::new();
    for value in one_or_many(written) {
        values.push(match value {
            Value::String(text) => ExpectedValue::Text(text),
            Value::Bool(value) => ExpectedValue::Bool(value),
            Value::Number(number) => ExpectedValue::Number(number),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        });
    }
    Some(values)
}

/// What may be written. Repeats nothing of the input.
const FORMS: &str = "expected a string, a boolean, a number, an array of these, or an object with \
                     one of the members any, all and like";

/// The expected values of claims, by the path of each claim.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExpectedClaims(pub Vec<(String, Expected)>);

impl<'de> Deserialize<'de> for ExpectedClaims {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let mut claims = Vec::new();
        for (path, written) in Map::deserialize(input)? {
            let values = Expected::read(written).ok_or_else(|| D::Error::custom(FORMS))?;
            claims.push((path, values));
        }
        Ok(Self(claims))
    }
}

#[cfg(test)]
mod tests {
    use edgepass_jose::ClaimsSet;
    use serde_json::json;

    use super::*;

    fn fits(expected: &Value, claim: &Value) -> bool {
        let claims = ClaimsSet::parse(json!({ "c": claim }).to_string().as_bytes()).unwrap();
        let expected = Expected::read(expected.clone()).unwrap();
        expected.fits(claims.get("c").unwrap())
    }

    #[test]
    fn a_claim_is_or_contains_what_is_expected() {
        for (expected, right, wrong) in [
            (
                json!("a"),
                json!(["a", ["b", "a"]]),
                json!(["A", "a ", "", ["b"], [], null, true, 1, {"a": "a"}, [["a"]]]),
            ),
            (json!(true), json!([true, [false, true]]), json!([false, "true", 1, null, []])),
            (json!(2), json!([2, 2.0, [1, 2]]), json!(["2", 3, 2.5, true, null])),
            (json!(2.5), json!([2.5]), json!([2, "2.5"])),
            (json!(-1), json!([-1, -1.0]), json!([1, 18446744073709551615_u64])),
            (
                json!(9007199254740993_u64),
                json!([9007199254740993_u64]),
                json!([9007199254740992_u64]),
            ),
            (json!(["a", "b", 1]), json!(["a", "b", 1, ["x", "b"]]), json!(["c", 2, ["x"], "ab"])),
            (json!({"any": ["a", "b"]}), json!(["a", ["b"]]), json!(["c", []])),
            (json!({"any": "a"}), json!(["a"]), json!(["b"])),
            (json!({"all": ["a", "b"]}), json!([["b", "x", "a"]]), json!(["a", ["a"], [], "a b"])),
            (json!({"all": ["a"]}), json!(["a", ["a", "b"]]), json!(["b", []])),
            (
                json!({"like": "a/*"}),
                json!(["a/b", ["x", "a/c"]]),
                json!(["a/b/c", "xa/b", 1, ["x"]]),
            ),
            (json!({"like": ["a/*", "b"]}), json!(["a/b", "b"]), json!(["bb", "c"])),
        ] {
            for (claims, is_right) in [(right, true), (wrong, false)] {
                for claim in claims.as_array().unwrap() {
                    assert_eq!(fits(&expected, claim), is_right, "{expected}, {claim}");
                }
            }
        }
    }

    #[test]
    fn a_pattern_covers_the_whole_text() {
        for (pattern, right, wrong) in [
            ("a", &["a"][..], &["", "aa", "A", "b", "a/"][..]),
            ("", &[""], &["a"]),
            ("*", &["", "a", "a.b"], &["/", "a/b"]),
            ("**", &["", "a", "a/b/", "/"], &[]),
            (
                "refs/heads/release/*",
                &["refs/heads/release/1", "refs/heads/release/v1.2"],
                &[
                    "refs/heads/release",
                    "refs/heads/release/1/2",
                    "xrefs/heads/release/1",
                    "refs/heads/release/1\n/",
                ],
            ),
            ("refs/heads/**", &["refs/heads/a", "refs/heads/a/b"], &["refs/heads", "refs/tags/a"]),
            (
                "repo:org/*:ref:refs/heads/main",
                &["repo:org/a:ref:refs/heads/main"],
                &[
                    "repo:org/a:ref:refs/heads/main2",
                    "repo:org/a/b:ref:refs/heads/main",
                    "repo:orgx/a:ref:refs/heads/main",
                ],
            ),
            ("a*b*c", &["abc", "axbyc", "abbcc", "abcbc"], &["ab", "acb", "a/bc", "abcd"]),
            ("**/x/*", &["a/x/b", "a/b/x/c", "/x/", "x/x/x"], &["x/b", "a/x/b/c", "a/x"]),
            ("a/**/b", &["a/x/b", "a/x/y/b", "a//b"], &["a/b", "a/xb/", "a/x"]),
            (
                "*.example.com",
                &["a.example.com", ".example.com"],
                &["example.com", "a.example.com.evil"],
            ),
            ("a***b", &["ab", "a/b"], &["a"]),
            ("[a]?", &["[a]?"], &["a", "a?"]),
            ("*ä", &["ä", "öä"], &["a", "/ä"]),
        ] {
            for text in right {
                assert!(is_like(text, pattern), "{text} is like {pattern}");
            }
            for text in wrong {
                assert!(!is_like(text, pattern), "{text} is not like {pattern}");
            }
        }
    }

    #[test]
    fn patterns_agree_with_a_matcher_that_tries_everything() {
        fn slow(text: &[u8], pattern: &[u8]) -> bool {
            match (text, pattern) {
                (_, [b'*', b'*', rest @ ..]) => (0..=text.len()).any(|at| slow(&text[at..], rest)),
                (_, [b'*', rest @ ..]) => {
                    let segment = text.iter().take_while(|byte| **byte != b'/').count();
                    (0..=segment).any(|at| slow(&text[at..], rest))
                }
                ([], []) => true,
                ([first, text @ ..], [own, rest @ ..]) => first == own && slow(text, rest),
                _ => false,
            }
        }
        fn all(signs: &str, most: usize) -> Vec<String> {
            let mut texts = vec![String::new()];
            let mut from = 0;
            for _ in 0..most {
                let end = texts.len();
                for at in from..end {
                    for sign in signs.chars() {
                        texts.push(format!("{}{sign}", texts[at]));
                    }
                }
                from = end;
            }
            texts
        }
        let texts = all("ab/", 5);
        for pattern in all("ab/*", 5) {
            for text in &texts {
                let expected = slow(text.as_bytes(), pattern.as_bytes());
                assert_eq!(is_like(text, &pattern), expected, "{text} {pattern}");
            }
        }
        // No pattern takes long.
        assert!(!is_like(&"a".repeat(16_384), &format!("{}b", "*a".repeat(50))));
        assert!(!is_like(&"ab/".repeat(5_000), &format!("{}c", "**a*b".repeat(20))));
    }

    #[test]
    fn other_forms_are_refused() {
        for written in [
            json!(null),
            json!([null]),
            json!([["a"]]),
            json!({}),
            json!({"any": ["a"], "all": ["b"]}),
            json!({"none": ["a"]}),
            json!({"like": 1}),
            json!({"like": [true]}),
            json!({"any": {"a": 1}}),
        ] {
            let claims = serde_json::from_value::<ExpectedClaims>(json!({ "c": written }));
            let error = claims.unwrap_err();
            assert!(error.to_string().contains("any, all and like"), "{written}: {error}");
        }
    }
}
