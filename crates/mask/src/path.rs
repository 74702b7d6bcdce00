//! Paths: a subset of JSONPath (RFC 9535).

use std::str::FromStr;

/// A path to values in a document.
///
/// It begins with `$`. Then come segments: `.name`, `['name']`, `[0]`, `.*`, `[*]` for children, and `..name`,
/// `..['name']`, `..[0]`, `..*` for descendants. Filters, slices, unions and negative indices are not in the subset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path(pub(crate) Vec<Segment>);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// Whether it selects at any depth below.
    pub(crate) is_deep: bool,
    pub(crate) selector: Selector,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Selector {
    /// The member of an object.
    Name(String),
    /// The element of an array, from 0.
    Index(u32),
    /// Every member or element.
    All,
}

/// The text is no path of the subset.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "write a path such as $.customers[*].iban or $..email: names, ['names'], [0], * and .., no filters, slices or \
     unions"
)]
pub struct NotAPath;

impl FromStr for Path {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let mut rest = text.strip_prefix('$').ok_or(NotAPath)?;
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let deep = rest.strip_prefix("..");
            let (is_deep, tail) = (deep.is_some(), deep.unwrap_or(rest));
            let (selector, tail) = if let Some(inner) = tail.strip_prefix('[') {
                bracketed(inner)?
            } else {
                let tail = if is_deep { tail } else { tail.strip_prefix('.').ok_or(NotAPath)? };
                shorthand(tail)?
            };
            segments.push(Segment { is_deep, selector });
            rest = tail;
        }
        // `$` alone is the whole document: no value in it.
        if segments.is_empty() { Err(NotAPath) } else { Ok(Self(segments)) }
    }
}

/// A name without quotes, or `*` (RFC 9535 §2.5.1).
fn shorthand(text: &str) -> Result<(Selector, &str), NotAPath> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Selector::All, rest));
    }
    let is_first = |sign: char| sign.is_ascii_alphabetic() || sign == '_' || !sign.is_ascii();
    let end = text.find(|sign| !(is_first(sign) || sign.is_ascii_digit())).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).ok_or(NotAPath)?;
    match name.starts_with(is_first) {
        true => Ok((Selector::Name(name.to_owned()), rest)),
        false => Err(NotAPath),
    }
}

/// What is in brackets, after the first one.
fn bracketed(text: &str) -> Result<(Selector, &str), NotAPath> {
    if let Some(quote) = text.chars().next().filter(|sign| ['\'', '"'].contains(sign)) {
        let (name, rest) = quoted(text.strip_prefix(quote).ok_or(NotAPath)?, quote)?;
        return Ok((Selector::Name(name), rest.strip_prefix(']').ok_or(NotAPath)?));
    }
    let (inner, rest) = text.split_once(']').ok_or(NotAPath)?;
    if inner == "*" {
        return Ok((Selector::All, rest));
    }
    let is_number = inner.bytes().all(|byte| byte.is_ascii_digit())
        && (inner == "0" || !inner.starts_with('0'));
    let index = inner.parse().ok().filter(|_| is_number).ok_or(NotAPath)?;
    Ok((Selector::Index(index), rest))
}

/// A name in quotes, after the first one. Of escapes, those of the quote and the backslash are known.
fn quoted(text: &str, quote: char) -> Result<(String, &str), NotAPath> {
    let (mut name, mut signs) = (String::new(), text.char_indices());
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\\' => match signs.next() {
                Some((_, escaped)) if escaped == quote || escaped == '\\' => name.push(escaped),
                _ => return Err(NotAPath),
            },
            sign if sign == quote => {
                let rest = text.get(at.saturating_add(1)..).ok_or(NotAPath)?;
                return Ok((name, rest));
            }
            sign if sign < ' ' => return Err(NotAPath),
            sign => name.push(sign),
        }
    }
    Err(NotAPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subset_is_read_and_the_rest_refused() {
        let name = |name: &str| Selector::Name(name.to_owned());
        for (text, expected) in [
            ("$.a", vec![(false, name("a"))]),
            ("$.a.b_2", vec![(false, name("a")), (false, name("b_2"))]),
            ("$..é", vec![(true, name("é"))]),
            (
                "$.*[0]['a.b']",
                vec![(false, Selector::All), (false, Selector::Index(0)), (false, name("a.b"))],
            ),
            ("$[\"it's\"]..[*]", vec![(false, name("it's")), (true, Selector::All)]),
            ("$['a\\'\\\\b']", vec![(false, name("a'\\b"))]),
            ("$..[12]", vec![(true, Selector::Index(12))]),
            ("$['']", vec![(false, name(""))]),
        ] {
            let path: Path = text.parse().unwrap();
            let segments = path.0.into_iter().map(|one| (one.is_deep, one.selector));
            assert_eq!(segments.collect::<Vec<_>>(), expected, "{text}");
        }
        for text in [
            "",
            "a",
            "$",
            ".a",
            "$a",
            "$.",
            "$..",
            "$...a",
            "$.a.",
            "$.2a",
            "$.a-b",
            "$[-1]",
            "$[01]",
            "$[1:2]",
            "$[0,1]",
            "$[?@.a]",
            "$['a'",
            "$['a]",
            "$[\"a']",
            "$[a]",
            "$[]",
            "$[4294967296]",
            "$['\\n']",
            "$ .a",
            "$.a ",
            "$['a\n']",
        ] {
            assert_eq!(text.parse::<Path>(), Err(NotAPath), "{text:?}");
        }
    }
}
