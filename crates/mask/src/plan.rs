//! Rules, made ready for matching.

use crate::path::{Path, Selector};
use crate::with::With;

/// A rule: which values are masked, and with what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The path to the values.
    pub path: Path,
    /// What takes their place.
    pub with: With,
}

/// The rules have more segments than fit, or there are more than 32.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at most 32 paths, with at most 96 segments in all")]
pub struct TooManyRules;

/// The most rules of a plan.
pub const MAX_RULES: usize = 32;

/// States of matching. Each rule has one for each number of its segments that the path of a value fits, from none
/// to all, next to each other.
pub(crate) type States = u128;

/// One bit of 64, by the length of a name, its first and its last octet.
fn mark(name: &[u8]) -> u64 {
    let octet = |octet: Option<&u8>| octet.copied().map_or(0, u32::from);
    let (first, last) = (octet(name.first()), octet(name.last()));
    let sum =
        (name.len() as u32).wrapping_add(first.wrapping_mul(3)).wrapping_add(last.wrapping_mul(11));
    1_u64.rotate_left(sum)
}

/// Rules that are ready for matching.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The states after no segment, by rule.
    starts: Vec<States>,
    /// The states after all segments and what takes the place of the value, by rule.
    ends: Vec<(States, With)>,
    /// The states after all segments, of all rules.
    all_ends: States,
    /// States whose next segment selects at any depth.
    deep: States,
    /// States whose next segment selects every child.
    all: States,
    /// States whose next segment is this name.
    names: Vec<(String, States)>,
    /// The marks of all names: most others are told apart without a search.
    marks: u64,
    /// The same states of all names.
    any_name: States,
    /// States whose next segment is this index.
    indices: Vec<(u32, States)>,
}

impl Plan {
    /// Makes the rules ready.
    ///
    /// # Errors
    ///
    /// [`TooManyRules`].
    pub fn new(rules: &[Rule]) -> Result<Self, TooManyRules> {
        let segments: usize = rules.iter().map(|rule| rule.path.0.len()).sum();
        if rules.len() > MAX_RULES || segments > 96 {
            return Err(TooManyRules);
        }
        let mut plan = Self::default();
        let mut state: States = 1;
        for Rule { path, with } in rules {
            plan.starts.push(state);
            for segment in &path.0 {
                if segment.is_deep {
                    plan.deep |= state;
                }
                match &segment.selector {
                    Selector::All => plan.all |= state,
                    Selector::Index(index) => plan.indices.push((*index, state)),
                    Selector::Name(name) => {
                        plan.any_name |= state;
                        plan.marks |= mark(name.as_bytes());
                        match plan.names.iter_mut().find(|(own, _)| own == name) {
                            Some((_, states)) => *states |= state,
                            None => plan.names.push((name.clone(), state)),
                        }
                    }
                }
                state <<= 1;
            }
            plan.ends.push((state, *with));
            plan.all_ends |= state;
            state <<= 1;
        }
        Ok(plan)
    }

    /// The states of a document, for the rules whose bits are set in `active`.
    pub(crate) fn start(&self, active: u32) -> States {
        let is_active = |at: &usize| u32::try_from(*at).is_ok_and(|at| active >> at & 1 == 1);
        let starts = self.starts.iter().enumerate().filter(|(at, _)| is_active(at));
        starts.fold(0, |all, (_, start)| all | start)
    }

    /// Whether the name of a member of an object with these states matters.
    pub(crate) fn wants_names(&self, of: States) -> bool {
        of & self.any_name != 0
    }

    /// The position of a name that a rule has next. `None`: no rule does.
    pub(crate) fn named(&self, of: States, name: &[u8]) -> Option<usize> {
        if self.marks & mark(name) == 0 {
            return None;
        }
        let is_it = |(own, states): &(String, States)| own.as_bytes() == name && of & states != 0;
        self.names.iter().position(is_it)
    }

    /// The states of a member, by the position of its name.
    pub(crate) fn member(&self, of: States, name: Option<usize>) -> States {
        let named = name.and_then(|name| self.names.get(name)).map_or(0, |(_, states)| *states);
        self.child(of, named)
    }

    /// Whether a rule looks for an element by its index.
    pub(crate) fn has_indices(&self) -> bool {
        !self.indices.is_empty()
    }

    /// The states of an element.
    pub(crate) fn element(&self, of: States, index: u32) -> States {
        let fit = self.indices.iter().filter(|(own, _)| *own == index);
        self.child(of, fit.fold(0, |all, (_, states)| all | states))
    }

    fn child(&self, of: States, selected: States) -> States {
        (of & (selected | self.all)) << 1 | of & self.deep
    }

    /// What takes the place of a value with these states: of the first rule that it fits.
    pub(crate) fn masked(&self, states: States) -> Option<With> {
        if states & self.all_ends == 0 {
            return None;
        }
        let (_, with) = self.ends.iter().find(|(end, _)| states & end != 0)?;
        Some(*with)
    }
}
