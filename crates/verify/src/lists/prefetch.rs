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
    /// That was asked for, or these lists are to be: nothing, once they were.
    Lists(Vec<String>),
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

    /// What is to be asked for, once.
    pub(super) fn take(&mut self) -> Self {
        mem::replace(self, Self::Lists(Vec::new()))
    }

    /// These were named.
    pub(super) fn named(
        &mut self,
        uris: Vec<String>,
        is_held: impl Fn(&str) -> bool,
        policy: &Policy,
    ) {
        let first = uris.into_iter().take(MAX_LISTS);
        *self = Self::Lists(
            first.filter(|uri| policy.allows_status_uri(uri) && !is_held(uri)).collect(),
        );
    }
}
