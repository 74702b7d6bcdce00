//! Unambiguous JSON: valid UTF-8, no duplicate member name at any depth, bounded depth.

use serde_json::Value;

use crate::flat::{FlatObject, Repeated};
pub use crate::flat::{JsonObject, MAX_DEPTH, NotAnObject};

/// Parses one JSON object and nothing after it.
///
/// Refuses a byte order mark, invalid UTF-8, a lone surrogate, a number out of the range of `f64`,
/// more than [`MAX_DEPTH`] levels, and a repeated member name (also when one spelling is escaped).
///
/// Source: [RFC 7515 §4](https://www.rfc-editor.org/rfc/rfc7515#section-4) and [RFC 7519
/// §4](https://www.rfc-editor.org/rfc/rfc7519#section-4). Both let a parser refuse repeated names
/// or use the last value; this one refuses them.
pub fn parse_object(text: &[u8]) -> Result<JsonObject, NotAnObject> {
    FlatObject::parse(text).map(|object| object.to_members())
}

/// Parses one JSON array and nothing after it, as strictly as [`parse_object`]. Returns `None` when
/// the input is refused.
pub fn parse_array(text: &[u8]) -> Option<Vec<Value>> {
    match FlatObject::read(text, Repeated::Refused)?.root().to_value() {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// Parses a published document: one JSON object and nothing after it. Differs from [`parse_object`]
/// in that it skips a byte order mark, and that an object inside the document in which a member
/// name is repeated becomes `null`, so that it does not spoil the rest.
///
/// Source: [RFC 8259 §8.1](https://www.rfc-editor.org/rfc/rfc8259#section-8.1), [RFC 7517
/// §4](https://www.rfc-editor.org/rfc/rfc7517#section-4).
pub fn parse_document(text: &[u8]) -> Result<JsonObject, NotAnObject> {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let read = FlatObject::read(text, Repeated::Null).filter(|read| read.root().is_object());
    read.map(|object| object.to_members()).ok_or(NotAnObject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"sub":1,"\u0073ub":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            "\u{feff}{}",
            "{} {}",
            "{}x",
            "[]",
            "\"a\"",
            "",
            "{\"a\":1,}",
            "{\"a\":1e400}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":NaN}",
        ] {
            assert_eq!(parse_object(text.as_bytes()), Err(NotAnObject), "{text}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}"), Err(NotAnObject));
        assert!(parse_object(b" {\"a\":1, \"b\":{\"a\":1}} ").is_ok());
    }

    #[test]
    fn arrays_are_as_strict() {
        assert_eq!(parse_array(br#"[1, {"a": "b"}]"#).unwrap().len(), 2);
        for text in ["{}", "[", "[] []", r#"[{"a":1,"a":2}]"#, "1", ""] {
            assert_eq!(parse_array(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn in_a_document_a_repeated_name_spoils_only_its_own_object() {
        let read = |text: &str| parse_document(text.as_bytes()).map(Value::Object);
        let text = r#"{"keys":[{"a":1},{"a":1,"a":1},{"b":{"c":1,"c":2},"d":3}],"e":[[{"a":{}}]]}"#;
        let expected =
            serde_json::json!({"keys": [{"a": 1}, null, {"b": null, "d": 3}], "e": [[{"a": {}}]]});
        assert_eq!(read(text), Ok(expected.clone()));
        assert_eq!(read(&format!("\u{feff}{text}")), Ok(expected));
        for text in [r#"{"a":1,"a":1}"#, "\u{feff}\u{feff}{}", "[]", "", "\u{feff}", "{}{}", "null"]
        {
            assert_eq!(read(text), Err(NotAnObject), "{text}");
        }
    }

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"a":[null,true,false,-1,18446744073709551615,1.5,"\u00e9"],"b":{"c":-2}}"#;
        let expected: JsonObject = serde_json::from_str(text).unwrap();
        assert_eq!(parse_object(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn depth_is_counted_from_the_outermost_object() {
        let nested = |levels: usize| {
            format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert!(parse_object(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(parse_object(nested(MAX_DEPTH + 1).as_bytes()), Err(NotAnObject));
        assert_eq!(parse_object(nested(5000).as_bytes()), Err(NotAnObject));
    }
}
