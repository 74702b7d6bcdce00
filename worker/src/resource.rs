//! The metadata of protected resources (RFC 9728): what the API is called, who issues its tokens, and
//! which scopes its routes require.

use edgepass_jose::Scope;
use edgepass_verify::policy::is_issuer_url;
use edgepass_verify::token_place::TokenPlace;
use serde_json::{Value, json};

use crate::policy::{Access, GuardPolicy};

/// The path of the metadata of the whole API. For a resource with a path, that path follows (RFC 9728
/// §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The URL of the metadata of a resource: its path, or an empty text for the whole API.
pub(crate) fn metadata_url(external_url: &str, resource: &str) -> String {
    [external_url, WELL_KNOWN, resource].concat()
}

/// Returns the metadata at a path. `None` if no route that needs a token belongs to such a resource.
pub(crate) fn metadata<'i>(
    path: &str,
    external_url: &str,
    policy: &GuardPolicy,
    issuers: impl Iterator<Item = &'i str>,
) -> Option<String> {
    let resource = path.strip_prefix(WELL_KNOWN)?;
    let (mut scopes, mut methods, mut is_known) = (Vec::new(), Vec::new(), false);
    for route in &policy.routes {
        let Access::Token(requirements) = &route.access else { continue };
        if route.resource != resource {
            continue;
        }
        is_known = true;
        scopes.extend(requirements.all_of.iter().chain(requirements.any_of.iter()));
        for place in requirements.token_from.as_deref().unwrap_or(&[TokenPlace::Authorization]) {
            methods.push(match place {
                TokenPlace::Authorization => "header",
                TokenPlace::Query(name) if name == "access_token" => "query",
                _ => continue,
            });
        }
    }
    let document = json!({
        "resource": format!("{external_url}{resource}"),
        "authorization_servers": array(issuers.filter(|issuer| is_issuer_url(issuer))),
        // A set of names: sorted, without repetitions.
        "scopes_supported": array(scopes.into_iter().collect::<Scope>().iter()),
        "bearer_methods_supported": array(methods.into_iter().collect::<Scope>().iter()),
    });
    is_known.then(|| document.to_string())
}

fn array<'t>(texts: impl Iterator<Item = &'t str>) -> Value {
    texts.map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_the_scopes_of_its_routes() {
        let text = json!({ "route": [
            { "path": "/health", "methods": ["GET"], "public": true },
            { "path": "/mcp", "methods": ["GET", "POST", "DELETE"], "all_of": ["mcp:use"], "resource": "/mcp" },
            { "path": "/files/*", "methods": ["GET"], "any_of": ["files:read", "files:all"] },
            { "path": "/files/*", "methods": ["PUT"], "all_of": ["files:all"], "token_from": ["authorization", "query"] },
        ] });
        let policy: GuardPolicy =
            serde_json::from_value::<crate::policy::PolicyText>(text).unwrap().try_into().unwrap();
        let issuers = ["https://issuer.example", "joe"];
        let get = |path: &str| {
            let found = metadata(path, "https://api.example", &policy, issuers.into_iter());
            found.map(|text| serde_json::from_str::<Value>(&text).unwrap())
        };
        let whole = json!({
            "resource": "https://api.example", "authorization_servers": ["https://issuer.example"],
            "scopes_supported": ["files:all", "files:read"], "bearer_methods_supported": ["header", "query"],
        });
        assert_eq!(get("/.well-known/oauth-protected-resource"), Some(whole));
        let mcp = get("/.well-known/oauth-protected-resource/mcp").unwrap();
        assert_eq!(mcp["resource"], "https://api.example/mcp");
        assert_eq!(mcp["scopes_supported"], json!(["mcp:use"]));
        for path in [
            "/.well-known/oauth-protected-resource/",
            "/.well-known/oauth-protected-resource/files",
            "/mcp",
        ] {
            assert_eq!(get(path), None, "{path}");
        }
        let url = metadata_url("https://api.example", "/mcp");
        assert_eq!(url, "https://api.example/.well-known/oauth-protected-resource/mcp");
    }
}
