//! A reader of configuration from JSON values.
//!
//! `serde_json` also reads structs from arrays, and it reads text and values by different code. All
//! that code would enlarge a Wasm module. This reader works on values only. It refuses an array
//! where it expects a struct.

use std::fmt;

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// Reads a value as a `T`.
///
/// # Errors
///
/// [`ShapeError`] names the missing member or the expected value. It repeats the name of an unknown
/// member, but never a value, because a secret may be in the wrong place.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, ShapeError> {
    T::deserialize(JsonValue(value))
}

/// The reason why a value has the wrong form. It repeats no value of the input.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A required member is missing.
    #[error("missing field `{0}`")]
    Missing(&'static str),
    /// The object has an unknown member.
    #[error("unknown field `{name}`, {known}")]
    Unknown {
        /// The name of the unknown member.
        name: String,
        /// The names of the known members.
        known: OneOf,
    },
    /// The value is not of the expected kind. Holds a description of that kind.
    #[error("expected {0}")]
    Expected(String),
    /// The text is none of the expected names of variants.
    #[error("{0}")]
    NoneOf(OneOf),
    /// The type of a member refuses the value. Holds the text of its error.
    #[error("{0}")]
    Custom(String),
    /// A member occurs twice in an object.
    #[error("a member occurs twice")]
    Twice,
    /// A value inside has the wrong form.
    #[error("{path}: {error}")]
    In {
        /// The path of the value, such as `status.mode`.
        path: String,
        /// What is wrong with it.
        error: Box<ShapeError>,
    },
}

/// The known names, of which one is expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OneOf(&'static [&'static str]);

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("no members are allowed"),
            [one] => write!(f, "expected `{one}`"),
            [one, other] => write!(f, "expected `{one}` or `{other}`"),
            [first, others @ ..] => {
                write!(f, "expected one of `{first}`")?;
                others.iter().try_for_each(|name| write!(f, ", `{name}`"))
            }
        }
    }
}

impl ShapeError {
    /// Returns the message without names of members, which are text of the input.
    pub fn without_names(&self) -> String {
        match self {
            Self::Unknown { known, .. } => known.to_string(),
            Self::In { error, .. } => error.without_names(),
            other => other.to_string(),
        }
    }
}

impl ShapeError {
    /// The error of a value that is not of the expected kind, without words of Rust.
    #[inline(never)]
    fn expected(expected: &dyn Expected) -> Self {
        Self::Expected(match expected.to_string() {
            kind if kind == "u64" => "a whole number, 0 or more".into(),
            kind if kind == "a sequence" => "an array".into(),
            kind if kind.starts_with("struct ") => "an object".into(),
            kind => kind,
        })
    }

    /// The error of a value that is at `name` of another value.
    #[inline(never)]
    fn inside(self, name: String) -> Self {
        match self {
            Self::In { path, error } => {
                let dot = if path.starts_with('[') { "" } else { "." };
                Self::In { path: format!("{name}{dot}{path}"), error }
            }
            error => Self::In { path: name, error: Box::new(error) },
        }
    }
}

impl Error for ShapeError {
    /// Only types of this project, such as `DurationText`, report their own errors. Those quote no
    /// value.
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::NoneOf(OneOf(known))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown { name: name.to_owned(), known: OneOf(known) }
    }

    fn missing_field(name: &'static str) -> Self {
        Self::Missing(name)
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::Twice
    }
}

struct JsonValue(Value);

impl IntoDeserializer<'_, ShapeError> for JsonValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn members<'de, V: Visitor<'de>>(
    members: Map<String, Value>,
    visitor: V,
) -> Result<V::Value, ShapeError> {
    visitor.visit_map(Members { left: members.into_iter(), next: None })
}

fn items<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value, ShapeError> {
    visitor.visit_seq(Items(items.into_iter().enumerate()))
}

/// The members of an object. The error of a value gets the member's name.
struct Members {
    left: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ShapeError> {
        let Some(name) = self.advance() else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ShapeError> {
        let (name, value) = self.take();
        seed.deserialize(JsonValue(value)).map_err(|error| error.inside(name))
    }
}

impl Members {
    #[inline(never)]
    fn take(&mut self) -> (String, Value) {
        self.next.take().unwrap_or_default()
    }

    #[inline(never)]
    fn advance(&mut self) -> Option<&str> {
        self.next = self.left.next();
        self.next.as_ref().map(|(name, _)| name.as_str())
    }
}

/// The items of an array. The error of an item gets its index.
struct Items(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> SeqAccess<'de> for Items {
    type Error = ShapeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ShapeError> {
        let Some((index, value)) = self.0.next() else { return Ok(None) };
        let read = seed.deserialize(JsonValue(value));
        read.map(Some).map_err(|error| error.inside(format!("[{index}]")))
    }
}

fn unexpected<'de, V: Visitor<'de>>(visitor: &V) -> ShapeError {
    ShapeError::expected(visitor)
}

impl<'de> Deserializer<'de> for JsonValue {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_str(&text),
            Value::Array(values) => items(values, visitor),
            Value::Object(object) => members(object, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        // `null` is refused: an optional member without a value is left out.
        match self.0 {
            Value::Null => {
                Err(ShapeError::Expected("a value, not null: leave the member out instead".into()))
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Object(object) => members(object, visitor),
            _ => Err(unexpected(&visitor)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Array(values) => items(values, visitor),
            _ => Err(unexpected(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.0 {
            // The visitor of a tuple would ignore further items.
            Value::Array(values) if values.len() == length => items(values, visitor),
            _ => Err(unexpected(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            _ => Err(unexpected(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(StringDeserializer::new(text)),
            _ => Err(unexpected(&visitor)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct
        newtype_struct tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::PolicyConfig;

    #[test]
    fn a_policy_is_an_object_and_says_what_is_wrong_without_repeating_it() {
        let right = json!({
            "issuer": "https://a.example", "audience": ["b", "c"], "profile": "jwt", "typ": null,
            "leeway": "5s", "max_token_bytes": 4096, "status": {"mode": "ignore"},
        });
        let config: PolicyConfig = read(right.clone()).unwrap();
        let expected: PolicyConfig = serde_json::from_value(right).unwrap();
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
        for (wrong, expected) in [
            (json!(["https://a.example", "b"]), "expected an object"),
            (json!({"audience": "b"}), "missing field `issuer`"),
            (json!({"issuer": 1, "audience": "b"}), "issuer: expected a string"),
            (
                json!({"issuer": "a", "audience": {}}),
                "audience: expected a string or an array of strings",
            ),
            (
                json!({"issuer": "a", "audience": "b", "status": "secret"}),
                "status: expected an object",
            ),
            (
                json!({"issuer": "a", "audience": "b", "profile": "secret"}),
                "profile: expected `rfc9068` or `jwt`",
            ),
            (
                json!({"issuer": "a", "audience": "b", "max_token_bytes": "secret"}),
                "max_token_bytes: expected a whole number, 0 or more",
            ),
            (
                json!({"issuer": "a", "audience": "b", "status": {"uri_prefixes": ["a", 7]}}),
                "status.uri_prefixes[1]: expected a string",
            ),
        ] {
            assert_eq!(read::<PolicyConfig>(wrong).unwrap_err().to_string(), expected);
        }
        let unknown = json!({"issuer": "a", "audience": "b", "secret": 1});
        let error = read::<PolicyConfig>(unknown).unwrap_err();
        assert!(error.to_string().starts_with("unknown field `secret`, expected one of"));
        assert!(error.without_names().starts_with("expected one of `profile`, `issuer`"));
    }

    #[test]
    fn refuses_items_beyond_a_tuple() {
        assert_eq!(read(json!(["a", "b"])), Ok(("a".to_owned(), "b".to_owned())));
        for wrong in [json!(["a"]), json!(["a", "b", "c"])] {
            assert!(read::<(String, String)>(wrong).is_err());
        }
    }
}
