//! The masker: a reader of JSON that copies what it reads, except what is masked.

use std::sync::Arc;

use crate::events::Events;
use crate::plan::{Plan, States};
use crate::text::{Read, Text};
use crate::with::{HashKey, With};

/// The form of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One document.
    Json,
    /// Documents of one line each, such as NDJSON.
    Lines,
    /// Server-sent events: each line `data:` holds one document. Other fields stay as they are.
    Events,
}

impl Format {
    /// The form of a body with this `Content-Type`. `None`: no JSON in UTF-8.
    pub fn of_media_type(content_type: &str) -> Option<Self> {
        let written = content_type.to_ascii_lowercase();
        let mut parts = written.split(';').map(str::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim_ascii();
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let is_utf_8 = matches!(quoted.unwrap_or(value), "utf-8" | "utf8");
            if name.trim_ascii() == "charset" && !is_utf_8 {
                return None;
            }
        }
        match kind {
            "application/json" | "text/json" => Some(Self::Json),
            // Of several documents, in spite of its name.
            "application/stream+json"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-lines" => Some(Self::Lines),
            "text/event-stream" => Some(Self::Events),
            kind if kind.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// The body cannot be masked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MaskError {
    /// It is no JSON (RFC 8259) of this form, or not in UTF-8.
    #[error("the body is no JSON")]
    NotJson,
    /// An object has a name twice that a rule looks for: readers disagree about which one counts.
    #[error("the body has a repeated member on a masked path")]
    Repeated,
    /// Containers are more than 128 deep.
    #[error("the body is too deep")]
    TooDeep,
    /// A name, the white space before it, or a text to be masked is longer than 64 KiB.
    #[error("the body has too long a name or value on a masked path")]
    TooLong,
}

/// Containers within each other.
pub(crate) const MAX_DEPTH: usize = 128;
/// Octets that are held: a name with the separators before it, or a text to be masked.
pub(crate) const MAX_HELD: usize = 64 * 1024;
/// Octets that are taken before a look at what came of them: at most 13 times as many, of hashes of single digits.
const STEP: usize = 4096;

/// Masks one body.
pub struct Masker {
    json: Json,
    events: Option<Events>,
    format: Format,
}

impl Masker {
    /// A masker for the rules whose bits are set in `active`, in the order of the plan. Without `key`, hashes
    /// are `null`.
    pub fn new(plan: Arc<Plan>, active: u32, format: Format, key: Option<HashKey>) -> Self {
        let events = (format == Format::Events).then(Events::default);
        Self { json: Json::new(plan, active, key), events, format }
    }

    /// Takes the next octets, and appends what the client gets.
    ///
    /// # Errors
    ///
    /// [`MaskError`]. Nothing more of the body may be passed on then, and what was appended is good.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        match &mut self.events {
            Some(events) => events.feed(input, &mut self.json, out),
            None => self.json.feed(input, self.format == Format::Lines, out),
        }
    }

    /// Takes the next octets until `out` has at least `most`, and returns how many were taken. `out` can grow beyond
    /// `most` by no more than 128 KiB: by what was held, and since a short value may become a long one.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    pub fn feed_some(
        &mut self,
        input: &[u8],
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, MaskError> {
        let mut taken: usize = 0;
        for step in input.chunks(STEP) {
            if out.len() >= most {
                break;
            }
            self.feed(step, out)?;
            taken = taken.saturating_add(step.len());
        }
        Ok(taken)
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// [`MaskError::NotJson`]: a document is not whole, or there is none where one was promised.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        match &mut self.events {
            Some(events) => events.finish(&mut self.json, out),
            None if self.format == Format::Json && !self.json.has_begun => Err(MaskError::NotJson),
            None => self.json.end_document(out),
        }
    }
}

/// What comes next in a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// A value.
    Value,
    /// The first element of an array, or its end.
    FirstElement,
    /// The first name of an object, or its end.
    FirstName,
    /// A name.
    Name,
    InName,
    Colon,
    InText,
    InNumber(Number),
    /// The rest of `true`, `false` or `null`.
    InWord(&'static [u8]),
    /// A comma, or the end of the container.
    Next,
    /// The end of the document. Whether there was a line break since.
    Over(bool),
}

/// Where a number is (RFC 8259 §6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Whole),
            _ => None,
        }
    }

    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}

/// A container that has begun.
pub(crate) struct Container {
    pub(crate) is_object: bool,
    pub(crate) states: States,
    /// The states of a value in it whose name or index no rule looks for, and whether such a value is masked.
    pub(crate) others: (States, Option<With>),
    /// Whether a rule looks for names in it.
    pub(crate) wants_names: bool,
    /// The position of the element, in an array.
    index: u32,
    /// Whether the client got a member or element of it.
    pub(crate) has_passed: bool,
    /// Names that a rule looks for and that came, by position.
    pub(crate) seen: u128,
}

impl Container {
    /// A container that begins within another one.
    pub(crate) fn new(is_object: bool, states: States, plan: &Plan, around: Option<&Self>) -> Self {
        // Far down, all containers have the states of the one around them.
        let (others, wants_names) = match around.filter(|around| around.states == states) {
            Some(around) => (around.others, around.wants_names),
            None => {
                let others = plan.member(states, None);
                ((others, plan.masked(others)), plan.wants_names(states))
            }
        };
        Self { is_object, states, others, wants_names, index: 0, has_passed: false, seen: 0 }
    }
}

/// One bit, by the position of a name.
pub(crate) fn bit(name: usize) -> u128 {
    1_u128.checked_shl(u32::try_from(name).unwrap_or(u32::MAX)).unwrap_or_default()
}

/// Masks documents, one after the other.
///
/// Octets that the client gets are copied in long pieces. So [`Cursor`] says how far the input has been read, and
/// what of it the client has not got yet.
pub(crate) struct Json {
    pub(crate) plan: Arc<Plan>,
    active: u32,
    pub(crate) key: Option<HashKey>,
    pub(crate) state: State,
    pub(crate) containers: Vec<Container>,
    /// Separators and a name, from earlier input, of which it is not known yet whether the client gets them.
    pub(crate) held: Vec<u8>,
    /// Whether such octets are being read.
    pub(crate) is_holding: bool,
    /// The name or text that is read; a number that is masked.
    text: Text,
    /// The position of the current member's name in the plan.
    name: Option<usize>,
    /// What takes the place of the value that is read, and the number of containers around it.
    pub(crate) masked: Option<(With, usize)>,
    /// Whether the masked value is a text or a number.
    is_scalar: bool,
    /// Whether the document has begun.
    has_begun: bool,
}

/// A place in the input.
pub(crate) struct Cursor<'i> {
    pub(crate) input: &'i [u8],
    /// The octet that is read next.
    pub(crate) at: usize,
    /// The first octet that the client has not got, unless the value is masked.
    pub(crate) from: usize,
    /// The first octet that is held, while octets are held.
    hold: usize,
}

impl<'i> Cursor<'i> {
    fn rest(&self) -> &'i [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn between(&self, from: usize, to: usize) -> &'i [u8] {
        self.input.get(from..to).unwrap_or_default()
    }

    fn step(&mut self, octets: usize) {
        self.at = self.at.saturating_add(octets);
    }
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The rest of `true`, `false` or `null`, by its first letter.
pub(crate) fn rest_of_word(first: u8) -> &'static [u8] {
    match first {
        b't' => b"rue",
        b'f' => b"alse",
        _ => b"ull",
    }
}

impl Json {
    fn new(plan: Arc<Plan>, active: u32, key: Option<HashKey>) -> Self {
        Self {
            plan,
            active,
            key,
            state: State::Value,
            containers: Vec::new(),
            held: Vec::new(),
            is_holding: false,
            text: Text::default(),
            name: None,
            masked: None,
            is_scalar: false,
            has_begun: false,
        }
    }

    /// Ends a document, if one has begun, and gets ready for the next one.
    pub(crate) fn end_document(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        if let State::InNumber(number) = self.state
            && number.is_whole()
        {
            self.value_ends(&mut Cursor { input: &[], at: 0, from: 0, hold: 0 }, out);
        }
        let is_whole = matches!(self.state, State::Over(_)) || !self.has_begun;
        (self.state, self.has_begun) = (State::Value, false);
        if is_whole { Ok(()) } else { Err(MaskError::NotJson) }
    }

    /// Takes the next octets of a document; with `lines` also of further ones.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        lines: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let mut cursor = Cursor { input, at: 0, from: 0, hold: 0 };
        let mut read = Ok(());
        while let Some(byte) = input.get(cursor.at)
            && read.is_ok()
        {
            read = self.take(*byte, lines, &mut cursor, out);
            if read.is_ok() {
                self.take_whole(&mut cursor, lines, out);
            }
        }
        if self.masked.is_some() {
            return read;
        }
        if !self.is_holding {
            out.extend_from_slice(cursor.between(cursor.from, cursor.at));
            return read;
        }
        out.extend_from_slice(cursor.between(cursor.from, cursor.hold));
        self.held.extend_from_slice(cursor.between(cursor.hold, cursor.at));
        if self.held.len() > MAX_HELD { Err(MaskError::TooLong) } else { read }
    }

    /// Takes the next octet, `byte`, and maybe some after it.
    fn take(
        &mut self,
        byte: u8,
        lines: bool,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        match self.state {
            State::InName | State::InText => return self.take_text(cursor, out),
            State::InNumber(number) => return self.take_number(number, cursor, out),
            State::InWord(rest) => return self.take_word(rest, cursor, out),
            State::Over(has_break) if is_space(byte) => {
                self.state = State::Over(has_break || byte == b'\n');
                cursor.step(1);
                return Ok(());
            }
            // Whoever reads line by line would see a part of a document, whose paths nobody knows.
            _ if byte == b'\n' && lines && self.has_begun => {
                return Err(MaskError::NotJson);
            }
            _ if is_space(byte) => {
                // All at once: what is tried after each step would look at them again.
                let is_one = |byte: &&u8| is_space(**byte) && !(lines && **byte == b'\n');
                cursor.step(cursor.rest().iter().take_while(is_one).count().max(1));
                return Ok(());
            }
            _ => {}
        }
        match (self.state, byte) {
            (State::FirstElement | State::Next, b']') | (State::FirstName | State::Next, b'}') => {
                self.container_ends(byte, cursor, out)
            }
            (State::Value | State::FirstElement, _) => self.value_begins(byte, cursor, out),
            (State::FirstName | State::Name, b'"') => self.name_begins(cursor),
            (State::Colon, b':') => {
                self.state = State::Value;
                cursor.step(1);
                Ok(())
            }
            (State::Next, b',') => self.comma(cursor),
            (State::Over(true), _) if lines => self.value_begins(byte, cursor, out),
            _ => Err(MaskError::NotJson),
        }
    }

    /// Reads on in a name or text.
    fn take_text(&mut self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), MaskError> {
        loop {
            cursor.step(self.text.plain(cursor.rest()));
            if self.text.decoded.len() > MAX_HELD {
                return Err(MaskError::TooLong);
            }
            let Some(byte) = cursor.rest().first() else { return Ok(()) };
            let read = match *byte == b'"' && self.text.is_plain() {
                true => Read::End,
                false => self.text.take(*byte),
            };
            if read == Read::Invalid {
                return Err(MaskError::NotJson);
            }
            cursor.step(1);
            match read {
                Read::On | Read::Invalid => {}
                Read::End if self.state == State::InName => {
                    let name = std::mem::take(&mut self.text.decoded);
                    return self.name_ends(&name);
                }
                Read::End => {
                    self.value_ends(cursor, out);
                    return Ok(());
                }
            }
        }
    }

    /// Reads on in `true`, `false` or `null`, of which `rest` is left.
    fn take_word(
        &mut self,
        rest: &'static [u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let same = rest.iter().zip(cursor.rest()).take_while(|(one, other)| one == other);
        let length = same.count();
        cursor.step(length);
        if length < rest.len() && !cursor.rest().is_empty() {
            return Err(MaskError::NotJson);
        }
        match rest.get(length..).filter(|rest| !rest.is_empty()) {
            None => self.value_ends(cursor, out),
            Some(rest) => self.state = State::InWord(rest),
        }
        Ok(())
    }

    /// Reads on in a number.
    fn take_number(
        &mut self,
        mut number: Number,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let is_kept = self.is_scalar && self.masked.is_some();
        while let Some(byte) = cursor.rest().first() {
            match number.next(*byte) {
                Some(next) => number = next,
                // The octet after a number is not a part of it.
                None if number.is_whole() => {
                    self.value_ends(cursor, out);
                    return Ok(());
                }
                None => return Err(MaskError::NotJson),
            }
            if is_kept {
                self.text.decoded.push(*byte);
                if self.text.decoded.len() > MAX_HELD {
                    return Err(MaskError::TooLong);
                }
            }
            cursor.step(1);
        }
        self.state = State::InNumber(number);
        Ok(())
    }

    /// Holds the octets from here on, if a rule may remove the value that they belong to.
    fn hold(&mut self, states: States, cursor: &mut Cursor<'_>) {
        if !self.is_holding && self.masked.is_none() && states != 0 {
            self.is_holding = true;
            cursor.hold = cursor.at;
        }
    }

    fn name_begins(&mut self, cursor: &mut Cursor<'_>) -> Result<(), MaskError> {
        let object = self.containers.last();
        let (states, wants_names) =
            object.map_or((0, false), |object| (object.states, object.wants_names));
        self.hold(states, cursor);
        cursor.step(1);
        self.text.begin(self.masked.is_none() && wants_names);
        self.state = State::InName;
        Ok(())
    }

    fn name_ends(&mut self, name: &[u8]) -> Result<(), MaskError> {
        self.state = State::Colon;
        let Some(object) = self.containers.last_mut() else { return Err(MaskError::NotJson) };
        let is_looked_for = self.masked.is_none() && object.wants_names;
        let name = if is_looked_for { self.plan.named(object.states, name) } else { None };
        self.name = name;
        if let Some(name) = name {
            let bit = bit(name);
            if object.seen & bit != 0 {
                return Err(MaskError::Repeated);
            }
            object.seen |= bit;
        }
        Ok(())
    }

    fn comma(&mut self, cursor: &mut Cursor<'_>) -> Result<(), MaskError> {
        let Some(container) = self.containers.last_mut() else { return Err(MaskError::NotJson) };
        self.state = match container.is_object {
            true => State::Name,
            false => {
                container.index = container.index.saturating_add(1);
                State::Value
            }
        };
        let states = container.states;
        self.hold(states, cursor);
        cursor.step(1);
        Ok(())
    }

    fn value_begins(
        &mut self,
        byte: u8,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let depth = self.containers.len();
        let mut states = 0;
        if self.masked.is_none() {
            let with;
            (states, with) = match self.containers.last() {
                Some(object) if object.is_object && self.name.is_none() => object.others,
                Some(array) if !array.is_object && !self.plan.has_indices() => array.others,
                container => {
                    let states = match container {
                        None => self.plan.start(self.active),
                        Some(object) if object.is_object => {
                            self.plan.member(object.states, self.name)
                        }
                        Some(array) => self.plan.element(array.states, array.index),
                    };
                    (states, self.plan.masked(states))
                }
            };
            let has_passed = self.containers.last().is_some_and(|container| container.has_passed);
            if with.is_none() && has_passed && self.held.is_empty() {
                // All that is held is in this input, and goes to the client with the value.
                let held = cursor.at.saturating_sub(cursor.hold);
                if self.is_holding && held > MAX_HELD {
                    return Err(MaskError::TooLong);
                }
                self.is_holding = false;
            } else {
                self.decide(with, cursor, out)?;
                self.masked = with.map(|with| (with, depth));
            }
        }
        self.name = None;
        self.has_begun = true;
        let here = self.masked.filter(|(_, around)| *around == depth);
        let is_masked_here = here.is_some();
        // What is removed or null needs no text.
        let is_wanted = here.is_some_and(|(with, _)| !matches!(with, With::Remove | With::Null));
        self.is_scalar &= !is_masked_here;
        match byte {
            b'{' | b'[' => {
                if depth >= MAX_DEPTH {
                    return Err(MaskError::TooDeep);
                }
                let is_object = byte == b'{';
                self.state = if is_object { State::FirstName } else { State::FirstElement };
                let around = self.containers.last();
                let container = Container::new(is_object, states, &self.plan, around);
                self.containers.push(container);
            }
            b'"' => {
                cursor.step(1);
                self.is_scalar = is_wanted;
                self.text.begin(is_wanted);
                self.state = State::InText;
                return Ok(());
            }
            b't' | b'f' | b'n' => {
                cursor.step(1);
                return self.take_word(rest_of_word(byte), cursor, out);
            }
            byte => {
                let number = Number::begin(byte).ok_or(MaskError::NotJson)?;
                self.is_scalar = is_wanted;
                if is_wanted {
                    self.text.decoded.push(byte);
                }
                cursor.step(1);
                return self.take_number(number, cursor, out);
            }
        }
        cursor.step(1);
        Ok(())
    }

    /// Gives the client what comes before a value, unless the value goes. The comma goes, too, if nothing is
    /// before it.
    fn decide(
        &mut self,
        with: Option<With>,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let held = match self.is_holding {
            true => cursor.between(cursor.hold, cursor.at),
            false => &[],
        };
        if self.held.len().saturating_add(held.len()) > MAX_HELD {
            return Err(MaskError::TooLong);
        }
        let before = cursor.at.saturating_sub(held.len());
        let is_first = self.containers.last_mut().is_some_and(|container| {
            let is_first = !container.has_passed;
            container.has_passed |= with != Some(With::Remove);
            is_first
        });
        let has_comma = is_first && self.held.first().or_else(|| held.first()) == Some(&b',');
        if with == Some(With::Remove) {
            out.extend_from_slice(cursor.between(cursor.from, before));
        } else if !self.held.is_empty() || has_comma {
            out.extend_from_slice(cursor.between(cursor.from, before));
            let skipped = usize::from(has_comma);
            out.extend_from_slice(self.held.get(skipped..).unwrap_or_default());
            let skipped = if self.held.is_empty() { skipped } else { 0 };
            out.extend_from_slice(held.get(skipped..).unwrap_or_default());
            cursor.from = cursor.at;
        }
        if with.is_some_and(|with| with != With::Remove) {
            out.extend_from_slice(cursor.between(cursor.from, cursor.at));
        }
        self.held.clear();
        self.is_holding = false;
        Ok(())
    }

    fn container_ends(
        &mut self,
        byte: u8,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let is_object = byte == b'}';
        if self.containers.last().is_none_or(|container| container.is_object != is_object) {
            return Err(MaskError::NotJson);
        }
        self.containers.pop();
        cursor.step(1);
        self.value_ends(cursor, out);
        Ok(())
    }

    fn value_ends(&mut self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) {
        if let Some((with, _)) = self.masked.filter(|(_, around)| *around == self.containers.len())
        {
            let value = std::str::from_utf8(&self.text.decoded).ok().filter(|_| self.is_scalar);
            with.write(value, self.key.as_ref(), out);
            (self.masked, self.is_scalar) = (None, false);
            self.text.decoded.clear();
            cursor.from = cursor.at;
        }
        self.state = if self.containers.is_empty() { State::Over(false) } else { State::Next };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_masked() {
        for (content_type, expected) in [
            ("application/json", Some(Format::Json)),
            ("Application/JSON ; charset=UTF-8", Some(Format::Json)),
            ("application/problem+json; charset=\"utf-8\"", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Lines)),
            ("text/event-stream;charset=utf-8", Some(Format::Events)),
            ("application/stream+json", Some(Format::Lines)),
            ("application/json; charset=us-ascii", None),
            ("application/json; charset=utf-16", None),
            ("application/json; charset=latin1", None),
            ("text/html", None),
            ("text/plain", None),
            ("application/jsonp", None),
            ("json", None),
            ("", None),
        ] {
            assert_eq!(Format::of_media_type(content_type), expected, "{content_type}");
        }
    }
}
