//! Steps over what no rule concerns: whole members and elements, as most are. What begins or ends anywhere else, or
//! is anything but plain, is left to the reader of octets.

use crate::masker::{Container, Cursor, Json, MAX_DEPTH, MAX_HELD, State, bit, is_space};
use crate::plan::Plan;
use crate::text;
use crate::with::With;

/// Octets from the comma before a value to the value. What is further is left alone, as there is a limit.
const FAR: usize = 1024;

/// What comes next in a container.
enum Step {
    /// Its end. What is after it follows.
    End(usize),
    /// A container, which begins here.
    Container(usize),
    /// A value that no rule concerns, before this.
    Value(usize),
    /// A value whose name, by position, a rule looks for: where it begins and ends.
    Wanted(usize, usize, usize),
}

impl Json {
    /// Steps over as many whole members, elements, begins and ends of containers as it can. `lines`: a document has
    /// no line breaks.
    pub(crate) fn skim(&mut self, cursor: &mut Cursor<'_>, lines: bool, out: &mut Vec<u8>) {
        if self.masked.is_some() || self.is_holding || !self.held.is_empty() {
            return;
        }
        let mut is_next = match self.state {
            State::Next => true,
            State::FirstName | State::FirstElement => false,
            _ => return,
        };
        let input = cursor.input;
        let has_indices = self.plan.has_indices();
        while let Some(top) = self.containers.last_mut() {
            if top.others.1.is_some() || !top.is_object && has_indices {
                break;
            }
            let next = loop {
                // A comma goes with the members before it.
                let step =
                    step(input, cursor.at, (is_next, top.has_passed), lines, top, &self.plan);
                let Some(Step::Value(end)) = step else { break step };
                (top.has_passed, is_next) = (true, true);
                cursor.at = end;
            };
            match next {
                Some(Step::End(after)) => {
                    self.containers.pop();
                    (cursor.at, is_next) = (after, true);
                }
                Some(Step::Container(at)) if self.containers.len() < MAX_DEPTH => {
                    let Some(top) = self.containers.last_mut() else { break };
                    top.has_passed = true;
                    let is_object = input.get(at) == Some(&b'{');
                    let container = Container::new(is_object, top.others.0, &self.plan, Some(top));
                    self.containers.push(container);
                    (cursor.at, is_next) = (at.saturating_add(1), false);
                }
                Some(Step::Wanted(name, at, end))
                    if self.wanted(name, at, end, cursor, out).is_some() =>
                {
                    (cursor.at, is_next) = (end, true);
                }
                _ => break,
            }
        }
        self.state = match self.containers.last() {
            None => State::Over(false),
            Some(_) if is_next => State::Next,
            Some(top) if top.is_object => State::FirstName,
            Some(_) => State::FirstElement,
        };
    }

    /// Masks a plain value, at `at..end`, whose name a rule looks for. `None`: it cannot, and has done nothing.
    #[inline(never)]
    fn wanted(
        &mut self,
        name: usize,
        at: usize,
        end: usize,
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
            let value = cursor.input.get(at..end)?;
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
            cursor.from = end;
        }
        (top.has_passed, top.seen) = (true, seen);
        Some(())
    }
}

/// Reads the next step. `None`: it is not plain, or not whole. `is_next`, `has_passed`: whether a comma comes first, and
/// whether the client gets it.
#[inline(always)]
fn step(
    input: &[u8],
    from: usize,
    (is_next, has_passed): (bool, bool),
    lines: bool,
    top: &Container,
    plan: &Plan,
) -> Option<Step> {
    let mut at = after_spaces(input, from, lines);
    let byte = *input.get(at)?;
    if byte == if top.is_object { b'}' } else { b']' } {
        return Some(Step::End(at.saturating_add(1)));
    }
    if is_next {
        if byte != b',' || !has_passed {
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
    if at.saturating_sub(from) > FAR {
        return None;
    }
    let end = match *input.get(at)? {
        b'"' => after_text(input, at)?,
        b'{' | b'[' if wanted.is_none() => return Some(Step::Container(at)),
        b't' => after_word(input, at, b"true")?,
        b'f' => after_word(input, at, b"false")?,
        b'n' => after_word(input, at, b"null")?,
        _ => after_number(input, at)?,
    };
    Some(wanted.map_or(Step::Value(end), |name| Step::Wanted(name, at, end)))
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

fn after_word(input: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    input.get(at..)?.starts_with(word).then(|| at.saturating_add(word.len()))
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
