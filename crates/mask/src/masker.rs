//! The masker: a reader of JSON that copies what it reads, except what is masked.

use std::ops::Deref;

use crate::events::Events;
use crate::plan::{Plan, States};
use crate::text::{self, Read, Text};
use crate::with::{HashKey, With};

/// The form of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One document.
    Json,
    /// Documents with a line break between them, such as NDJSON.
    Lines,
    /// Server-sent events: each line `data:` holds one document. Other fields stay as they are.
    Events,
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

/// Masks one body. `P` is a [`Plan`] behind a reference or a shared pointer.
pub struct Masker<P> {
    json: Json<P>,
    events: Option<Events>,
    format: Format,
}

impl<P: Deref<Target = Plan>> Masker<P> {
    /// A masker for the rules whose bits are set in `active`, in the order of the plan. Without `key`, hashes
    /// are `null`.
    pub fn new(plan: P, active: u32, format: Format, key: Option<HashKey>) -> Self {
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

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// [`MaskError::NotJson`]: a document is not whole.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        match &mut self.events {
            Some(events) => events.finish(&mut self.json, out),
            None => self.json.end_document(out),
        }
    }
}

/// What comes next in a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
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
enum Number {
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
struct Container {
    is_object: bool,
    states: States,
    /// The position of the element, in an array.
    index: u32,
    /// Whether the client got a member or element of it.
    has_passed: bool,
    /// Names that a rule looks for and that came, by position.
    seen: u128,
}

/// Masks documents, one after the other.
pub(crate) struct Json<P> {
    plan: P,
    active: u32,
    key: Option<HashKey>,
    state: State,
    containers: Vec<Container>,
    /// Separators and a name of which it is not known yet whether the client gets them.
    held: Vec<u8>,
    is_holding: bool,
    /// The name or text that is read; a number that is masked.
    text: Text,
    /// The position of the current member's name in the plan.
    name: Option<usize>,
    /// What takes the place of the value that is read, and the number of containers around it.
    masked: Option<(With, usize)>,
    /// Whether the masked value is a text or a number.
    is_scalar: bool,
    /// Whether the document has begun.
    has_begun: bool,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

impl<P: Deref<Target = Plan>> Json<P> {
    fn new(plan: P, active: u32, key: Option<HashKey>) -> Self {
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
            self.value_ends(out);
        }
        let is_whole = matches!(self.state, State::Over(_)) || !self.has_begun;
        (self.state, self.has_begun) = (State::Value, false);
        if is_whole { Ok(()) } else { Err(MaskError::NotJson) }
    }

    /// Takes the next octets of a document; with `lines` also of further ones.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        lines: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        while let Some(byte) = input.first() {
            let length = self.run(input);
            if length > 0 {
                let (run, rest) = input.split_at_checked(length).unwrap_or((input, &[]));
                self.pass(run, out)?;
                input = rest;
                continue;
            }
            if self.take(*byte, lines, out)? {
                input = input.get(1..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The number of octets at the start of `input` that change nothing: within a text, and white space.
    fn run(&mut self, input: &[u8]) -> usize {
        match self.state {
            State::InName | State::InText => self.text.plain(input),
            State::InNumber(Number::Whole) if !self.is_scalar => {
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                input.iter().position(|byte| !is_digit(byte)).unwrap_or(input.len())
            }
            State::InNumber(_) | State::InWord(_) | State::Over(_) => 0,
            _ => input.iter().position(|byte| !is_space(*byte)).unwrap_or(input.len()),
        }
    }

    /// Gives octets to the client, holds them, or drops them.
    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        if self.masked.is_some() {
            return match self.text.decoded.len() > MAX_HELD {
                true => Err(MaskError::TooLong),
                false => Ok(()),
            };
        }
        if !self.is_holding {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() > MAX_HELD { Err(MaskError::TooLong) } else { Ok(()) }
    }

    /// Takes one octet. Returns whether it is done with: the octet after a number is looked at again.
    fn take(&mut self, byte: u8, lines: bool, out: &mut Vec<u8>) -> Result<bool, MaskError> {
        match (self.state, byte) {
            (State::FirstElement, b']') | (State::FirstName, b'}') => {
                self.container_ends(byte, out)?
            }
            (State::Next, b']' | b'}') => self.container_ends(byte, out)?,
            (State::Value | State::FirstElement, _) => self.value_begins(byte, out)?,
            (State::FirstName | State::Name, b'"') => self.name_begins(out)?,
            (State::InName, _) => match self.text.take(byte) {
                Read::Invalid => return Err(MaskError::NotJson),
                Read::On => self.pass(&[byte], out)?,
                Read::End => {
                    self.pass(&[byte], out)?;
                    self.name_ends()?;
                }
            },
            (State::Colon, b':') => {
                self.pass(&[byte], out)?;
                self.state = State::Value;
            }
            (State::InText, _) => match self.text.take(byte) {
                Read::Invalid => return Err(MaskError::NotJson),
                Read::On => self.pass(&[byte], out)?,
                Read::End => {
                    self.pass(&[byte], out)?;
                    self.value_ends(out);
                }
            },
            (State::InNumber(number), _) => match number.next(byte) {
                Some(next) => {
                    self.state = State::InNumber(next);
                    self.keep_digit(byte);
                    self.pass(&[byte], out)?;
                }
                None if number.is_whole() => {
                    self.value_ends(out);
                    return Ok(false);
                }
                None => return Err(MaskError::NotJson),
            },
            (State::InWord(rest), _) => {
                let Some((next, rest)) = rest.split_first() else { return Err(MaskError::NotJson) };
                if *next != byte {
                    return Err(MaskError::NotJson);
                }
                self.pass(&[byte], out)?;
                match rest.is_empty() {
                    true => self.value_ends(out),
                    false => self.state = State::InWord(rest),
                }
            }
            (State::Next, b',') => self.comma(out)?,
            (State::Over(has_break), _) if is_space(byte) => {
                self.state = State::Over(has_break || byte == b'\n');
                self.pass(&[byte], out)?;
            }
            (State::Over(true), _) if lines => self.value_begins(byte, out)?,
            _ => return Err(MaskError::NotJson),
        }
        Ok(true)
    }

    fn keep_digit(&mut self, byte: u8) {
        if self.is_scalar && self.masked.is_some() {
            self.text.decoded.push(byte);
        }
    }

    fn name_begins(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let states = self.containers.last().map_or(0, |container| container.states);
        let is_open = self.masked.is_none();
        self.is_holding |= is_open && states != 0;
        self.text.begin(is_open && self.plan.wants_names(states));
        self.state = State::InName;
        self.pass(b"\"", out)
    }

    fn name_ends(&mut self) -> Result<(), MaskError> {
        self.state = State::Colon;
        let Some(object) = self.containers.last_mut() else { return Err(MaskError::NotJson) };
        let is_looked_for = self.masked.is_none() && self.plan.wants_names(object.states);
        let name = self.plan.named(object.states, &self.text.decoded).filter(|_| is_looked_for);
        self.name = name;
        if let Some(name) = name {
            let bit =
                1_u128.checked_shl(u32::try_from(name).unwrap_or(u32::MAX)).unwrap_or_default();
            if object.seen & bit != 0 {
                return Err(MaskError::Repeated);
            }
            object.seen |= bit;
        }
        Ok(())
    }

    fn comma(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let Some(container) = self.containers.last_mut() else { return Err(MaskError::NotJson) };
        self.state = match container.is_object {
            true => State::Name,
            false => {
                container.index = container.index.saturating_add(1);
                State::Value
            }
        };
        self.is_holding |= self.masked.is_none() && container.states != 0;
        self.pass(b",", out)
    }

    fn value_begins(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let depth = self.containers.len();
        let mut states = 0;
        if self.masked.is_none() {
            states = match self.containers.last() {
                None => self.plan.start(self.active),
                Some(object) if object.is_object => self.plan.member(object.states, self.name),
                Some(array) => self.plan.element(array.states, array.index),
            };
            let with = self.plan.masked(states);
            if with == Some(With::Remove) {
                self.held.clear();
            } else {
                self.give_held(out);
            }
            self.is_holding = false;
            self.masked = with.map(|with| (with, depth));
        }
        self.name = None;
        self.has_begun = true;
        let is_masked_here = self.masked.is_some_and(|(_, around)| around == depth);
        self.is_scalar &= !is_masked_here;
        match byte {
            b'{' | b'[' => {
                if depth >= MAX_DEPTH {
                    return Err(MaskError::TooDeep);
                }
                let is_object = byte == b'{';
                self.state = if is_object { State::FirstName } else { State::FirstElement };
                let (index, has_passed, seen) = (0, false, 0);
                self.containers.push(Container { is_object, states, index, has_passed, seen });
            }
            b'"' => {
                self.is_scalar = is_masked_here;
                self.text.begin(is_masked_here);
                self.state = State::InText;
            }
            b't' => self.state = State::InWord(b"rue"),
            b'f' => self.state = State::InWord(b"alse"),
            b'n' => self.state = State::InWord(b"ull"),
            byte => {
                let number = Number::begin(byte).ok_or(MaskError::NotJson)?;
                self.state = State::InNumber(number);
                self.is_scalar = is_masked_here;
                self.text.begin(false);
                self.keep_digit(byte);
            }
        }
        self.pass(&[byte], out)
    }

    /// Gives the client the separators and the name before a value. The comma goes if nothing is before it.
    fn give_held(&mut self, out: &mut Vec<u8>) {
        if let Some(container) = self.containers.last_mut() {
            let comma = match container.has_passed {
                false => self.held.strip_prefix(b","),
                true => None,
            };
            out.extend_from_slice(comma.unwrap_or(&self.held));
            container.has_passed = true;
        }
        self.held.clear();
    }

    fn container_ends(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let is_object = byte == b'}';
        if self.containers.pop().is_none_or(|container| container.is_object != is_object) {
            return Err(MaskError::NotJson);
        }
        self.pass(&[byte], out)?;
        self.value_ends(out);
        Ok(())
    }

    fn value_ends(&mut self, out: &mut Vec<u8>) {
        if let Some((with, _)) = self.masked.filter(|(_, around)| *around == self.containers.len())
        {
            let value = std::str::from_utf8(&self.text.decoded).ok().filter(|_| self.is_scalar);
            let instead = value.and_then(|value| with.of(value, self.key.as_ref()));
            match (with, instead) {
                (With::Remove, _) => {}
                (_, Some(instead)) => text::write(&instead, out),
                (_, None) => out.extend_from_slice(b"null"),
            }
            (self.masked, self.is_scalar) = (None, false);
            self.text.decoded.clear();
        }
        self.state = if self.containers.is_empty() { State::Over(false) } else { State::Next };
    }
}
