//! What the policy of a guard says of its routes.

use std::path::Path;

use anyhow::Context;
use edgepass_issuer::breach::GuardedRoute;
use toml_edit::{DocumentMut, Item, TableLike};

/// The routes of a guard's policy.
pub(super) fn routes(file: &Path) -> anyhow::Result<Vec<GuardedRoute>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let policy: DocumentMut = text.parse().with_context(|| format!("{shown} is no TOML"))?;
    let routes = policy.get("route").and_then(Item::as_array_of_tables);
    let routes =
        routes.with_context(|| format!("{shown} has no [[route]]: it is no policy of a guard"))?;
    Ok(routes.iter().map(|route| read(route)).collect())
}

fn read(route: &dyn TableLike) -> GuardedRoute {
    let path = route.get("path").and_then(Item::as_str).unwrap_or("?");
    let methods = texts(route, "methods").join(",");
    let rules = route.get("mask");
    let inline = rules.and_then(Item::as_array).into_iter().flatten();
    let inline =
        inline.filter_map(|rule| rule.as_inline_table()).map(|rule| rule as &dyn TableLike);
    let tables = rules.and_then(Item::as_array_of_tables).into_iter().flatten();
    let masks = inline.chain(tables.map(|rule| rule as &dyn TableLike)).map(mask);
    GuardedRoute {
        name: format!("{methods} {path}").trim().to_owned(),
        audiences: route
            .get("audience")
            .and_then(Item::as_str)
            .map(str::to_owned)
            .into_iter()
            .collect(),
        all_of: texts(route, "all_of"),
        any_of: texts(route, "any_of"),
        purposes: texts(route, "purposes"),
        data: texts(route, "data"),
        masks: masks.collect(),
        public: route.get("public").and_then(Item::as_bool).unwrap_or_default(),
    }
}

fn texts(table: &dyn TableLike, name: &str) -> Vec<String> {
    let items = table.get(name).and_then(Item::as_array).into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// What a rule masks, in words.
fn mask(rule: &dyn TableLike) -> String {
    let text = |name: &str| rule.get(name).and_then(Item::as_str);
    let unless = text("unless").map(|scope| format!(" unless the token has {scope}"));
    let how = match text("with") {
        Some("remove") => "removed",
        Some("null") => "as null",
        Some("last4") => "with the last four characters alone",
        Some("hash") => "as a keyed hash",
        Some("email") => "with the first letter and the domain alone",
        _ => "masked",
    };
    format!("{} {how}{}", texts(rule, "fields").join(", "), unless.unwrap_or_default())
}
