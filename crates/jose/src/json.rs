//! JSON objects without ambiguity: strict UTF-8, no duplicate member at any depth, bounded depth.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object whose member names are unique at every depth.
pub type JsonObject = Map<String, Value>;

/// How deep arrays and objects may nest; the outermost object is depth 1.
pub const MAX_DEPTH: usize = 16;

/// The bytes are not one JSON object in strict UTF-8 with unique member names and bounded depth.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JSON object with unique member names, at most {MAX_DEPTH} levels deep")]
pub struct NotAnObject;

/// Parse one JSON object and nothing after it.
///
/// A byte order mark, invalid UTF-8, a lone surrogate, a number beyond `f64` and a repeated member
/// name (also when one spelling is escaped) are all refused.
///
/// Source: [RFC 7515 §4](https://www.rfc-editor.org/rfc/rfc7515#section-4) and
/// [RFC 7519 §4](https://www.rfc-editor.org/rfc/rfc7519#section-4), choosing "reject".
pub fn parse_object(text: &[u8]) -> Result<JsonObject, NotAnObject> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }.deserialize(&mut parser).map_err(|_| NotAnObject)?;
    parser.end().map_err(|_| NotAnObject)?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(NotAnObject),
    }
}

/// Builds a [`Value`] while counting depth and refusing repeated names.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth.saturating_add(1) })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = input.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = input.next_key::<String>()? {
            let value = input.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(object))
    }
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
