//! The lists of several targets as one.

use std::collections::BTreeMap;

use edgepass_status_list::StatusType;

use super::PublishedList;
use super::shown::Shown;

/// The lists that any target shows. A status that is revoked at any target is revoked. For all others the
/// target with the newest edition of the list counts.
pub(super) fn merged(shown: &[Shown]) -> Vec<PublishedList> {
    let mut all: BTreeMap<&str, PublishedList> = BTreeMap::new();
    for list in shown.iter().flat_map(|target| &target.lists) {
        match all.get_mut(list.id.as_str()) {
            Some(known) => *known = united(known, list),
            None => drop(all.insert(&list.id, list.clone())),
        }
    }
    all.into_values().collect()
}

fn united(one: &PublishedList, other: &PublishedList) -> PublishedList {
    let (newer, older) = if one.number >= other.number { (one, other) } else { (other, one) };
    let mut statuses: BTreeMap<u32, StatusType> = newer.statuses.iter().copied().collect();
    let revoked = older.statuses.iter().filter(|(_, status)| *status == StatusType::Invalid);
    statuses.extend(revoked.copied());
    PublishedList {
        capacity: newer.capacity.max(older.capacity),
        issued_at: newer.issued_at.max(older.issued_at),
        statuses: statuses.into_iter().collect(),
        ..newer.clone()
    }
}
