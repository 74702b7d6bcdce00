//! A JSON object in two allocations: one for all its texts, one for a node per value.
//!
//! A tree of maps would allocate memory for each text and container, which takes longer than
//! parsing.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON object as a tree of maps.
pub type JsonObject = Map<String, Value>;

/// The maximum nesting depth of arrays and objects. The outermost object has depth 1.
pub const MAX_DEPTH: usize = 16;

/// The error for bytes that are not exactly one JSON object in valid UTF-8, with unique member
/// names, numbers in the range of `f64`, and at most [`MAX_DEPTH`] levels.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JSON object with unique member names, at most {MAX_DEPTH} levels deep")]
pub struct NotAnObject;

/// A JSON object with unique member names at every depth.
#[derive(Clone, PartialEq)]
pub struct FlatObject {
    text: String,
    /// In document order: a container precedes its contents. The first node is the object itself.
    nodes: Vec<Node>,
}

#[derive(Clone, PartialEq)]
struct Node {
    /// Position of the member's name in the text; empty for array items and the outermost value.
    name: Range<u32>,
    kind: Kind,
    /// Index after the last node inside this one.
    end: u32,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    /// Position in the text.
    String(Range<u32>),
    Array,
    Object,
}

/// A value inside a [`FlatObject`].
#[derive(Clone, Copy)]
pub struct ValueRef<'o> {
    object: &'o FlatObject,
    at: usize,
}

/// What becomes of an object in which a member name is repeated.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Repeated {
    /// The whole text is refused.
    Refused,
    /// The object becomes `null`. The rest of the text is read.
    Null,
}

/// Up to this many members, a name is compared with each earlier one; after that, names are hashed.
const FEW_MEMBERS: usize = 24;

impl FlatObject {
    /// Parses one JSON object and nothing after it.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`]; [`parse_object`] lists the refused inputs.
    ///
    /// [`parse_object`]: crate::json::parse_object
    pub fn parse(text: &[u8]) -> Result<Self, NotAnObject> {
        let read = Self::read(text, Repeated::Refused).ok_or(NotAnObject)?;
        if read.root().is_object() { Ok(read) } else { Err(NotAnObject) }
    }

    /// Parses as [`FlatObject::parse`] does, but accepts any type of outermost value. Returns
    /// `None` when the text is refused.
    pub(crate) fn read(text: &[u8], repeated: Repeated) -> Option<Self> {
        // A decoded string is never longer than its encoding. Most members take over 16 octets.
        let mut object = Self {
            text: String::with_capacity(text.len()),
            nodes: Vec::with_capacity((text.len() / 16).saturating_add(4)),
        };
        let mut parser = serde_json::Deserializer::from_slice(text);
        let whole = Slot { object: &mut object, name: 0..0, depth: 0, repeated };
        whole.deserialize(&mut parser).ok()?;
        parser.end().ok()?;
        Some(object)
    }

    pub(crate) fn root(&self) -> ValueRef<'_> {
        ValueRef { object: self, at: 0 }
    }

    /// Returns the member with this name, or `None` when it is absent.
    pub fn get(&self, name: &str) -> Option<ValueRef<'_>> {
        self.root().get(name)
    }

    /// The allocated memory, in bytes.
    pub fn bytes(&self) -> usize {
        let nodes = self.nodes.capacity().saturating_mul(size_of::<Node>());
        self.text.capacity().saturating_add(nodes)
    }

    /// Copies the object to a tree of maps.
    pub fn to_members(&self) -> JsonObject {
        match self.root().to_value() {
            Value::Object(members) => members,
            _ => JsonObject::new(),
        }
    }

    fn slice(&self, range: &Range<u32>) -> &str {
        self.text.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Appends to the text. Returns the position, or `None` if the text would exceed 4 GiB.
    fn add(&mut self, text: &str) -> Option<Range<u32>> {
        let start = u32::try_from(self.text.len()).ok()?;
        self.text.push_str(text);
        Some(start..u32::try_from(self.text.len()).ok()?)
    }

    /// Appends a node that contains no others. Returns its index, or `None` beyond 2³² nodes.
    fn push(&mut self, name: Range<u32>, kind: Kind) -> Option<usize> {
        let at = self.nodes.len();
        let end = u32::try_from(at.checked_add(1)?).ok()?;
        self.nodes.push(Node { name, kind, end });
        Some(at)
    }

    /// Makes all nodes after `at` part of the node at `at`.
    fn close(&mut self, at: usize) {
        // `push` has checked that the number of nodes fits 32 bits.
        let end = self.nodes.len() as u32;
        if let Some(node) = self.nodes.get_mut(at) {
            node.end = end;
        }
    }
}

/// Formats the object as its tree of maps.
impl fmt::Debug for FlatObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_members().fmt(f)
    }
}

impl<'o> ValueRef<'o> {
    /// Returns the text of a string, or `None` for another type.
    pub fn as_str(self) -> Option<&'o str> {
        match self.kind()? {
            Kind::String(range) => Some(self.object.slice(range)),
            _ => None,
        }
    }

    /// Returns a number, or `None` for another type.
    pub fn as_number(self) -> Option<&'o Number> {
        match self.kind()? {
            Kind::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Returns a number written as a non-negative integer that fits 64 bits, or `None` for any
    /// other value.
    pub fn as_u64(self) -> Option<u64> {
        self.as_number()?.as_u64()
    }

    /// Returns a boolean, or `None` for another type.
    pub fn as_bool(self) -> Option<bool> {
        match self.kind()? {
            Kind::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether the value is null.
    pub fn is_null(self) -> bool {
        matches!(self.kind(), Some(Kind::Null))
    }

    /// Whether the value is an object.
    pub fn is_object(self) -> bool {
        matches!(self.kind(), Some(Kind::Object))
    }

    /// Iterates over the items of an array. Returns `None` for another type.
    pub fn as_array(self) -> Option<impl Iterator<Item = ValueRef<'o>>> {
        matches!(self.kind()?, Kind::Array).then(|| self.inside())
    }

    /// Iterates over the members of an object, in its order. Returns `None` for another type.
    pub fn members(self) -> Option<impl Iterator<Item = (&'o str, ValueRef<'o>)>> {
        let name = |value: Self| value.node().map_or("", |node| value.object.slice(&node.name));
        self.is_object().then(|| self.inside().map(move |value| (name(value), value)))
    }

    /// Returns the member `name`, or `None` when it is absent or this value is not an object.
    pub fn get(self, name: &str) -> Option<Self> {
        // Names are short: comparing octets inline costs less than a call to `memcmp`.
        let named = |value: &Self| {
            value.node().is_some_and(|node| {
                node.name.len() == name.len()
                    && self.object.slice(&node.name).bytes().eq(name.bytes())
            })
        };
        matches!(self.kind()?, Kind::Object).then(|| self.inside())?.find(named)
    }

    /// Copies the value to a tree of maps and arrays.
    pub fn to_value(self) -> Value {
        match self.kind() {
            None | Some(Kind::Null) => Value::Null,
            Some(Kind::Bool(value)) => Value::Bool(*value),
            Some(Kind::Number(number)) => Value::Number(number.clone()),
            Some(Kind::String(range)) => Value::String(self.object.slice(range).to_owned()),
            Some(Kind::Array) => self.inside().map(Self::to_value).collect(),
            Some(Kind::Object) => {
                let mut members = JsonObject::new();
                for (name, value) in self.members().into_iter().flatten() {
                    members.insert(name.to_owned(), value.to_value());
                }
                Value::Object(members)
            }
        }
    }

    fn node(self) -> Option<&'o Node> {
        self.object.nodes.get(self.at)
    }

    fn kind(self) -> Option<&'o Kind> {
        self.node().map(|node| &node.kind)
    }

    /// Iterates over the items or members directly inside this value.
    fn inside(self) -> impl Iterator<Item = ValueRef<'o>> {
        let (object, end) = (self.object, self.node().map_or(0, |node| node.end as usize));
        let mut next = self.at.saturating_add(1);
        std::iter::from_fn(move || {
            let at = next;
            let node = object.nodes.get(at).filter(|_| at < end)?;
            next = node.end as usize;
            Some(ValueRef { object, at })
        })
    }
}

/// Deserializes the next value into `object`, as the member `name`. Refuses more than [`MAX_DEPTH`]
/// levels.
struct Slot<'o> {
    object: &'o mut FlatObject,
    name: Range<u32>,
    depth: usize,
    repeated: Repeated,
}

impl Slot<'_> {
    fn put<E: serde::de::Error>(self, kind: Kind) -> Result<usize, E> {
        self.object.push(self.name, kind).ok_or_else(too_large)
    }

    fn inner_depth<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(self.depth.saturating_add(1))
    }
}

fn too_large<E: serde::de::Error>() -> E {
    E::custom("too large")
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.put(Kind::Null).map(drop)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.put(Kind::Bool(value)).map(drop)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.put(Kind::Number(value.into())).map(drop)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.put(Kind::Number(value.into())).map(drop)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        self.put(Kind::Number(number)).map(drop)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        let range = self.object.add(value).ok_or_else(too_large)?;
        self.put(Kind::String(range)).map(drop)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<(), A::Error> {
        let (depth, repeated, object) = (self.inner_depth()?, self.repeated, self.object);
        let at = object.push(self.name, Kind::Array).ok_or_else(too_large)?;
        loop {
            let item = Slot { object: &mut *object, name: 0..0, depth, repeated };
            if input.next_element_seed(item)?.is_none() {
                break;
            }
        }
        object.close(at);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<(), A::Error> {
        let (depth, repeated, object) = (self.inner_depth()?, self.repeated, self.object);
        let at = object.push(self.name, Kind::Object).ok_or_else(too_large)?;
        let (mut names, mut is_repeated) = (Names::default(), false);
        while let Some(name) = input.next_key_seed(Name(object))? {
            object.close(at);
            if !names.add(object, at, &name) {
                if repeated == Repeated::Refused {
                    return Err(A::Error::custom("duplicate member"));
                }
                is_repeated = true;
            }
            input.next_value_seed(Slot { object: &mut *object, name, depth, repeated })?;
        }
        object.close(at);
        if let Some(node) = object.nodes.get_mut(at).filter(|_| is_repeated) {
            node.kind = Kind::Null;
        }
        Ok(())
    }
}

/// Finds repeated names in one object: by comparison for the first [`FEW_MEMBERS`], then by hash.
#[derive(Default)]
struct Names {
    /// 64-bit Bloom filter over name checksums; a miss means the name is new.
    kinds: u64,
    few: usize,
    many: HashSet<String>,
}

impl Names {
    /// Adds a name. Returns `false` if the object at `at` already has a member of that name.
    fn add(&mut self, object: &FlatObject, at: usize, name: &Range<u32>) -> bool {
        let name = object.slice(name);
        let own = ValueRef { object, at };
        if self.few < FEW_MEMBERS {
            self.few = self.few.saturating_add(1);
            let letters = name.bytes().fold(0, |sum: u8, octet| sum.wrapping_add(octet));
            let kind = 1 << (letters % 64);
            let is_first = self.kinds & kind == 0;
            self.kinds |= kind;
            return is_first || own.get(name).is_none();
        }
        if self.many.is_empty() {
            let names = own.inside().filter_map(|value| value.node());
            self.many = names.map(|node| object.slice(&node.name).to_owned()).collect();
        }
        self.many.insert(name.to_owned())
    }
}

/// Deserializes a member's name into the object's text.
struct Name<'o>(&'o mut FlatObject);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Range<u32>;

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Range<u32>, D::Error> {
        input.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Range<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Range<u32>, E> {
        self.0.add(name).ok_or_else(too_large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_they_are() {
        let text = br#"{"a":[1,{"b":"x"},[]],"c":{"a":null,"d":{"e":true}},"":-1.5,"f":"\u00e9"}"#;
        let object = FlatObject::parse(text).unwrap();
        let items: Vec<Value> =
            object.get("a").unwrap().as_array().unwrap().map(ValueRef::to_value).collect();
        assert_eq!(Value::Array(items), serde_json::json!([1, {"b": "x"}, []]));
        assert!(object.get("c").unwrap().get("a").unwrap().is_null());
        assert_eq!(object.get("f").unwrap().as_str(), Some("é"));
        assert_eq!(object.get("").unwrap().as_number().and_then(Number::as_f64), Some(-1.5));
        assert!(object.get("b").is_none() && object.get("e").is_none());
        assert!(object.get("f").unwrap().get("f").is_none());
        let tree: JsonObject = serde_json::from_slice(text).unwrap();
        assert_eq!(object.to_members(), tree);
    }

    #[test]
    fn names_are_unique_among_few_and_among_many() {
        for count in [1, 2, FEW_MEMBERS - 1, FEW_MEMBERS, FEW_MEMBERS + 1, FEW_MEMBERS + 2, 500] {
            let members: Vec<String> =
                (0..count).map(|n| format!(r#""m{n}":{{"m{n}":{n}}}"#)).collect();
            let object =
                FlatObject::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap();
            assert_eq!(object.to_members().len(), count);
            for again in [0, count / 2, count - 1] {
                let text = format!(r#"{{{},"m{again}":0}}"#, members.join(","));
                assert!(FlatObject::parse(text.as_bytes()).is_err(), "{count}, {again}");
            }
        }
    }
}
