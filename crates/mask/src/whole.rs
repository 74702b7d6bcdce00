//! Takes whole members and elements at once, where they are plain and no rule concerns them or masks them by their
//! name: as most are. All else is left to the reader of octets in `masker.rs`.

use crate::masker::{
    Container, Cursor, Json, MAX_DEPTH, MAX_HELD, State, bit, is_space, rest_of_word,
};
use crate::plan::Plan;
use crate::text;
use crate::with::With;

/// The most octets between the value before and a value. The reader of octets decides what is too long.
const MAX_BEFORE: usize = 1024;

/// What comes next in a container. All numbers are positions in the input.
enum Next {
    /// Its end.
    End { after: usize },
    /// A container that no rule concerns.
    Container { at: usize },
    /// Another value that no rule concerns.
    Value { after: usize },
    /// Another value, of which a rule looks for the name.
    Wanted { name: usize, at: usize, after: usize },
}

impl Json {
    /// Takes as many whole members, elements, begins and ends of containers as it can. `lines`: a document has no
    /// line breaks.
    pub(crate) fn take_whole(&mut self, cursor: &mut Cursor<'_>, lines: bool, out: &mut Vec<u8>) {
        if self.masked.is_some() || self.is_holding || !self.held.is_empty() {
            return;
        }
        let mut needs_comma = match self.state {
            State::Next => true,
            State::FirstName | State::FirstElement => false,
            _ => return,
        };
        let has_indices = self.plan.has_indices();
        while let Some(top) = self.containers.last_mut() {
            if top.others.1.is_some() || !top.is_object && has_indices {
                break;
            }
            let next = loop {
                let next = next(cursor, needs_comma, lines, top, &self.plan);
                let Some(Next::Value { after }) = next else { break next };
                (top.has_passed, needs_comma) = (true, true);
                cursor.at = after;
            };
            match next {
                Some(Next::End { after }) => {
                    self.containers.pop();
                    (cursor.at, needs_comma) = (after, true);
                }
                Some(Next::Container { at }) if self.containers.len() < MAX_DEPTH => {
                    let Some(top) = self.containers.last_mut() else { break };
                    top.has_passed = true;
                    let is_object = cursor.input.get(at) == Some(&b'{');
                    let container = Container::new(is_object, top.others.0, &self.plan, Some(top));
                    self.containers.push(container);
                    (cursor.at, needs_comma) = (at.saturating_add(1), false);
                }
                Some(Next::Wanted { name, at, after })
                    if self.take_wanted(name, (at, after), cursor, out).is_some() =>
                {
                    (cursor.at, needs_comma) = (after, true);
                }
                _ => break,
            }
        }
        self.state = match self.containers.last() {
            None => State::Over(false),
            Some(_) if needs_comma => State::Next,
            Some(top) if top.is_object => State::FirstName,
            Some(_) => State::FirstElement,
        };
    }

    /// Takes a value, which is here in the input and whose name a rule looks for. `None`: it is left alone.
    #[inline(never)]
    fn take_wanted(
        &mut self,
        name: usize,
        (at, after): (usize, usize),
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let top = self.containers.last_mut()?;
        let seen = top.seen | bit(name);
        if seen == top.seen {
            return None;
        }
        let states = self.plan.member(top.states, Some(name));
        if let Some(with) = self.plan.masked(states) {
            let value = cursor.input.get(at..after)?;
            if with == With::Remove || value.len() > MAX_HELD {
                return None;
            }
            let value = match value {
                [b'"', text @ .., b'"'] => Some(text),
                [b't' | b'f' | b'n', ..] => None,
                number => Some(number),
            };
            out.extend_from_slice(cursor.input.get(cursor.from..at)?);
            with.write(
                value.and_then(|value| std::str::from_utf8(value).ok()),
                self.key.as_ref(),
                out,
            );
            cursor.from = after;
        }
        (top.has_passed, top.seen) = (true, seen);
        Some(())
    }
}

/// What comes next in the container `top`. `None`: it is not plain, or not all of it is here.
#[inline(always)]
fn next(
    cursor: &Cursor<'_>,
    needs_comma: bool,
    lines: bool,
    top: &Container,
    plan: &Plan,
) -> Option<Next> {
    let input = cursor.input;
    let mut at = after_spaces(input, cursor.at, lines);
    let byte = *input.get(at)?;
    if byte == if top.is_object { b'}' } else { b']' } {
        return Some(Next::End { after: at.saturating_add(1) });
    }
    if needs_comma {
        // If the client got nothing before the comma, it does not get the comma.
        if byte != b',' || !top.has_passed {
            return None;
        }
        at = after_spaces(input, at.saturating_add(1), lines);
    }
    let mut wanted = None;
    if top.is_object {
        let name = at.saturating_add(1);
        let end = after_text(input, at)?;
        if top.wants_names {
            wanted = plan.named(top.states, input.get(name..end.saturating_sub(1))?);
        }
        at = after_spaces(input, end, lines);
        if *input.get(at)? != b':' {
            return None;
        }
        at = after_spaces(input, at.saturating_add(1), lines);
    }
    if at.saturating_sub(cursor.at) > MAX_BEFORE {
        return None;
    }
    let after = match *input.get(at)? {
        b'"' => after_text(input, at)?,
        b'{' | b'[' if wanted.is_some() => return None,
        b'{' | b'[' => return Some(Next::Container { at }),
        byte @ (b't' | b'f' | b'n') => {
            let (rest, from) = (rest_of_word(byte), at.saturating_add(1));
            let is_it = input.get(from..)?.starts_with(rest);
            is_it.then(|| from.saturating_add(rest.len()))?
        }
        _ => after_number(input, at)?,
    };
    Some(wanted.map_or(Next::Value { after }, |name| Next::Wanted { name, at, after }))
}

fn after_spaces(input: &[u8], mut at: usize, lines: bool) -> usize {
    while input.get(at).is_some_and(|byte| is_space(*byte) && !(lines && *byte == b'\n')) {
        at = at.saturating_add(1);
    }
    at
}

/// Reads a text that is plain, from its first quote.
fn after_text(input: &[u8], at: usize) -> Option<usize> {
    if *input.get(at)? != b'"' {
        return None;
    }
    let from = at.saturating_add(1);
    let end = from.saturating_add(text::plain_length(input.get(from..)?));
    (*input.get(end)? == b'"').then(|| end.saturating_add(1))
}

/// Reads a number without an exponent, and looks at what follows it.
fn after_number(input: &[u8], mut at: usize) -> Option<usize> {
    if *input.get(at)? == b'-' {
        at = at.saturating_add(1);
    }
    let is_zero = *input.get(at)? == b'0';
    let end = after_digits(input, at)?;
    if is_zero && end.saturating_sub(at) > 1 {
        return None;
    }
    at = match input.get(end)? {
        b'.' => after_digits(input, end.saturating_add(1))?,
        _ => end,
    };
    (!matches!(input.get(at)?, b'e' | b'E')).then_some(at)
}

/// Reads at least one digit.
fn after_digits(input: &[u8], from: usize) -> Option<usize> {
    let digits = input.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| from.saturating_add(digits))
}
