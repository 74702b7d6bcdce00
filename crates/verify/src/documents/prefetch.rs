//! Lists fetched before a token asks for them: once, of those that the issuer names first.

use std::mem;

use crate::policy::Policy;

/// At most so many lists.
const MAX_LISTS: usize = 6;

/// How far it has come.
#[derive(Debug, Default)]
pub(super) enum Prefetch {
    /// No list was taken in yet that says where the others are named.
    #[default]
    Unknown,
    /// They are named here.
    At(String),
    /// These lists are to be asked for, the last first; nothing, once they were.
    Lists(Vec<String>),
}

/// What is asked for ahead.
pub(super) enum NextFetch {
    /// Where the lists are named.
    Aggregation(String),
    /// A list.
    List(String),
}

impl Prefetch {
    /// A list says where the issuer names all of them. Only a place where lists may lie is asked.
    pub(super) fn learn(&mut self, uri: Option<&str>, policy: &Policy) {
        if let (Self::Unknown, Some(uri)) = (&self, uri)
            && policy.allows_status_uri(uri)
        {
            *self = Self::At(uri.to_owned());
        }
    }

    /// Whether there is something to ask for.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::At(_) => true,
            Self::Lists(uris) => !uris.is_empty(),
        }
    }

    /// What is to be asked for next; each once.
    pub(super) fn next(&mut self) -> Option<NextFetch> {
        if let Self::Lists(uris) = self {
            return uris.pop().map(NextFetch::List);
        }
        match mem::replace(self, Self::Lists(Vec::new())) {
            Self::At(uri) => Some(NextFetch::Aggregation(uri)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// These were named.
    pub(super) fn named(
        &mut self,
        uris: Vec<String>,
        is_held: impl Fn(&str) -> bool,
        policy: &Policy,
    ) {
        let first = uris.into_iter().take(MAX_LISTS);
        let mut wanted: Vec<String> =
            first.filter(|uri| policy.allows_status_uri(uri) && !is_held(uri)).collect();
        wanted.reverse();
        *self = Self::Lists(wanted);
    }
}
