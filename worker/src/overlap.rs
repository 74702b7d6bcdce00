//! Checks of a policy for routes that hide each other, or that an origin could confuse. For a
//! request, the first route that matches decides.

use crate::fold;
use crate::policy::{Access, Route, Segment};
use crate::policy_error::PolicyError;

/// Refuses a route if an earlier route matches all of its paths for one of its methods: for that
/// method, nothing that the route says would have an effect.
///
/// # Errors
///
/// [`PolicyError::Hidden`], with the paths of the route and of an earlier one.
pub(crate) fn refuse_hidden(routes: &[Route]) -> Result<(), PolicyError> {
    for (position, route) in routes.iter().enumerate() {
        let before = || routes.iter().take(position);
        let hiding = |method: &String| {
            before().find(|other| {
                other.methods.contains(method) && covers(&other.pattern, &route.pattern)
            })
        };
        if let Some(first) = route.methods.iter().find_map(hiding) {
            let (path, first) = (route.path.clone(), first.path.clone());
            return Err(PolicyError::Hidden { path, first });
        }
    }
    Ok(())
}

/// Refuses two routes with a common method and different requirements if their patterns differ but
/// fold to the same form. Many origins read their paths as one, so the laxer route would give
/// access to the paths of both. Also refuses a route with variables if an origin may read each of
/// its paths as one of a stricter route: the guard would refuse all of its requests.
///
/// # Errors
///
/// [`PolicyError::Aliases`], with the paths of the two routes.
pub(crate) fn refuse_aliases(routes: &[Route]) -> Result<(), PolicyError> {
    for (position, route) in routes.iter().enumerate() {
        for other in routes.iter().take(position) {
            let same_method = route.methods.iter().any(|method| other.methods.contains(method));
            let aliases = route.pattern != other.pattern
                && route.folded == other.folded
                && !(is_as_strict(route, other) && is_as_strict(other, route));
            let idle = is_idle(other, route) || is_idle(route, other);
            if same_method && (aliases || idle) {
                return Err(PolicyError::Aliases(other.path.clone(), route.path.clone()));
            }
        }
    }
    Ok(())
}

/// Whether an origin may read each path of the laxer route `lax`, which has variables, as one of
/// `strict`, although the patterns do not say so.
fn is_idle(lax: &Route, strict: &Route) -> bool {
    let has_variables = lax.pattern.iter().any(|part| !matches!(part, Segment::Literal(_)));
    let ends_with_slash =
        matches!(lax.pattern.last(), Some(Segment::Literal(text)) if text.is_empty());
    has_variables
        && !is_as_strict(lax, strict)
        && !covers(&strict.pattern, &lax.pattern)
        && (covers(&strict.folded, &lax.folded)
            || ends_with_slash && is_above(&lax.folded, &strict.folded))
}

/// Whether `below` is for everything below the paths of `above`: `/a/{x}` and `/a/{x}/*`.
pub(crate) fn is_above(above: &[Segment], below: &[Segment]) -> bool {
    matches!(below.split_last(), Some((Segment::Rest, path)) if path == above)
}

/// Refuses two routes with a common method whose folded patterns overlap, if neither covers the
/// other and the first is laxer. Some origins do not choose between such routes by their order.
///
/// # Errors
///
/// [`PolicyError::Crossing`], with the paths of the two routes.
pub(crate) fn refuse_crossing(routes: &[Route]) -> Result<(), PolicyError> {
    for (position, route) in routes.iter().enumerate() {
        for other in routes.iter().take(position) {
            let same_method = route.methods.iter().any(|method| other.methods.contains(method));
            let crosses = overlaps(&other.folded, &route.folded)
                && !covers(&other.folded, &route.folded)
                && !covers(&route.folded, &other.folded);
            if same_method && crosses && !is_as_strict(other, route) {
                return Err(PolicyError::Crossing(other.path.clone(), route.path.clone()));
            }
        }
    }
    Ok(())
}

/// Whether `one` is at least as strict as `other`: `other` then accepts every token that `one`
/// accepts, and shows no less. `false` if both need a token and their audiences differ.
pub(crate) fn is_as_strict(one: &Route, other: &Route) -> bool {
    one.masks_as_much(other) && is_access_as_strict(&one.access, &other.access)
}

fn is_access_as_strict(one: &Access, other: &Access) -> bool {
    let (one, other) = match (one, other) {
        (_, Access::Public) => return true,
        (Access::Public, Access::Token(_)) => return false,
        (Access::Token(one), Access::Token(other)) => (one, other),
    };
    let all_of = other.all_of.missing_in(&one.all_of).is_empty();
    let any_of = other.any_of.is_empty()
        || one.all_of.intersects(&other.any_of)
        || (!one.any_of.is_empty() && one.any_of.missing_in(&other.any_of).is_empty());
    let purposes = other.purposes.is_empty()
        || (!one.purposes.is_empty() && one.purposes.missing_in(&other.purposes).is_empty());
    let data = other.data.missing_in(&one.data).is_empty();
    let issuers = match (&one.issuers, &other.issuers) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(one), Some(other)) => one.iter().all(|issuer| other.contains(issuer)),
    };
    let stale = match (one.stale_if_error, other.stale_if_error) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(one), Some(other)) => one <= other,
    };
    all_of && any_of && purposes && data && issuers && stale && one.audience == other.audience
}

/// Whether `outer` matches every path that `inner` matches.
fn covers(outer: &[Segment], inner: &[Segment]) -> bool {
    match (outer, inner) {
        ([], []) => true,
        ([Segment::Rest], inner) => {
            // A final `*` does not match a trailing slash.
            let slash = |part: &Segment| matches!(part, Segment::Literal(text) if text.is_empty());
            !inner.is_empty() && !inner.iter().any(slash)
        }
        ([Segment::Any, outer @ ..], [Segment::Literal(text), inner @ ..]) => {
            !text.is_empty() && covers(outer, inner)
        }
        ([Segment::Any, outer @ ..], [Segment::Any, inner @ ..]) => covers(outer, inner),
        ([Segment::Literal(one), outer @ ..], [Segment::Literal(other), inner @ ..]) => {
            one == other && covers(outer, inner)
        }
        _ => false,
    }
}

/// Whether two folded patterns have a path in common. In doubt `true`.
fn overlaps(one: &[Segment], other: &[Segment]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([Segment::Rest], rest) | (rest, [Segment::Rest]) => !rest.is_empty(),
        ([Segment::Literal(one), rest @ ..], [Segment::Literal(other), others @ ..]) => {
            one == other && overlaps(rest, others)
        }
        ([_, rest @ ..], [_, others @ ..]) => overlaps(rest, others),
        _ => false,
    }
}

/// Folds the literal segments of a pattern ([`fold::segment`]) and drops a trailing slash.
pub(crate) fn folded(pattern: &[Segment]) -> Vec<Segment> {
    let pattern = match pattern {
        [rest @ .., Segment::Literal(last)] if last.is_empty() && !rest.is_empty() => rest,
        whole => whole,
    };
    let last = pattern.len().saturating_sub(1);
    let fold = |(position, part): (usize, &Segment)| match part {
        Segment::Literal(text) => {
            Segment::Literal(fold::segment(text, position == last, str::to_ascii_lowercase))
        }
        Segment::Any => Segment::Any,
        Segment::Rest => Segment::Rest,
    };
    pattern.iter().enumerate().map(fold).collect()
}
