//! What differs between two policies.

use serde_json::{Map, Value};

use super::version::PolicyVersion;

/// A difference between two versions of a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// `role`, `client`, `scope`, `agreement`, `federation`, `approval`, `rule` or `brakes`.
    pub kind: &'static str,
    /// The name of the entry.
    pub name: String,
    /// What differs.
    pub change: Change,
}

/// How an entry differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Only the new policy has the entry.
    Added,
    /// Only the old policy has the entry.
    Removed,
    /// A member of the entry differs.
    Changed {
        /// The name of the member.
        member: String,
        /// Its value in the old policy, in JSON. Null: the entry had none.
        before: Value,
        /// Its value in the new policy, in JSON. Null: the entry has none.
        after: Value,
    },
}

/// The lists of a policy: the member in its text, what an entry is called, and the member with the
/// name of an entry.
const LISTS: [(&str, &str, &str); 7] = [
    ("roles", "role", "name"),
    ("clients", "client", "id"),
    ("catalogue", "scope", "name"),
    ("agreements", "agreement", "id"),
    ("federations", "federation", "name"),
    ("approvals", "approval", "name"),
    ("misuse", "rule", "name"),
];

/// The differences of `new` from `old`, by kind and in the order of the entries. Another order of
/// the same entries is no difference, except that of a client's roles.
///
/// # Errors
///
/// One of the texts is no policy.
///
/// # Example
///
/// ```
/// use edgepass_issuer::IssuerPolicy;
/// use edgepass_issuer::policy::difference::differences;
///
/// let policy = IssuerPolicy::default().version();
/// assert!(differences(&policy, &policy).unwrap().is_empty());
/// ```
pub fn differences(
    old: &PolicyVersion,
    new: &PolicyVersion,
) -> Result<Vec<Difference>, serde_json::Error> {
    let old: Value = serde_json::from_str(&old.text)?;
    let new: Value = serde_json::from_str(&new.text)?;
    let mut found = Vec::new();
    let none = Value::Object(Map::new());
    let brakes = |policy| Value::get(policy, "brakes").unwrap_or(&none);
    for change in members(brakes(&old), brakes(&new)) {
        found.push(Difference { kind: "brakes", name: "[misuse]".to_owned(), change });
    }
    for (list, kind, name_of) in LISTS {
        let named = |entry: &Value| text(entry.get(name_of));
        let (old, new) = (entries(&old, list), entries(&new, list));
        for entry in new {
            let (name, before) = (named(entry), old.iter().find(|old| named(old) == named(entry)));
            match before {
                None => found.push(Difference { kind, name, change: Change::Added }),
                Some(before) => {
                    let changes = members(before, entry);
                    let difference = |change| Difference { kind, name: name.clone(), change };
                    found.extend(changes.map(difference));
                }
            }
        }
        let is_gone = |entry: &&Value| new.iter().all(|new| named(new) != named(entry));
        found.extend(old.iter().filter(is_gone).map(|entry| Difference {
            kind,
            name: named(entry),
            change: Change::Removed,
        }));
    }
    Ok(found)
}

fn entries<'v>(policy: &'v Value, list: &str) -> &'v [Value] {
    policy.get(list).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The members that differ between two entries.
fn members<'v>(old: &'v Value, new: &'v Value) -> impl Iterator<Item = Change> + 'v {
    let of = |value: &'v Value| value.as_object().into_iter().flatten();
    let only_old = of(old).filter(move |(name, _)| new.get(name.as_str()).is_none());
    let names = of(new).chain(only_old).map(|(name, _)| name);
    names.filter_map(move |name| {
        let value = |of: &Value| of.get(name.as_str()).cloned().unwrap_or_default();
        let (before, after) = (value(old), value(new));
        (before != after).then(|| Change::Changed { member: name.clone(), before, after })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> PolicyVersion {
        PolicyVersion { text: text.to_owned(), digest: String::new() }
    }

    #[test]
    fn names_what_was_added_removed_and_changed() {
        let old = version(
            r#"{"roles":[{"name":"a","lifetime":1,"owner":"x"},{"name":"b"}],"clients":[{"id":"c"}]}"#,
        );
        let new = version(
            r#"{"roles":[{"name":"d"},{"name":"a","lifetime":2}],"clients":[{"id":"c"}],"agreements":[]}"#,
        );
        let found = differences(&old, &new).unwrap();
        let of = |name: &str, change| Difference { kind: "role", name: name.to_owned(), change };
        let changed = |member: &str, before: Value, after: Value| {
            of("a", Change::Changed { member: member.to_owned(), before, after })
        };
        assert_eq!(
            found,
            [
                of("d", Change::Added),
                changed("lifetime", 1.into(), 2.into()),
                changed("owner", "x".into(), Value::Null),
                of("b", Change::Removed),
            ]
        );
    }
}
