//! The issuer identifier of a policy: one issuer, or a template for one issuer per tenant.

use edgepass_jose::ClaimsSet;

use super::OneOrMany;
use super::expected::Expected;
use crate::policy::claim_path::ClaimPath;
use crate::policy::{ExpectedClaim, PolicyError};

/// An issuer identifier. As a template it has one variable, which stands for a claim of the token:
/// `https://login.example/{tid}/v2.0`.
#[derive(Clone, Debug)]
pub(crate) struct IssuerName {
    text: String,
    tenant: Option<Tenant>,
}

#[derive(Clone, Debug)]
struct Tenant {
    before: String,
    claim: ClaimPath,
    after: String,
    /// The accepted values. `None`: any.
    allowed: Option<Vec<String>>,
}

/// The value of `tenants` that accepts any tenant.
const ANY: &str = "any";
/// The name of Microsoft Entra's variable in its metadata. It stands for the claim `tid`.
const ENTRA_VARIABLE: (&str, &str) = ("tenantid", "tid");
/// The maximum length of a tenant, in bytes.
const MAX_TENANT_BYTES: usize = 256;

impl IssuerName {
    /// Reads an identifier. A template must say which tenants it accepts: by `tenants`, or by
    /// `expected` values of its claim.
    ///
    /// # Errors
    ///
    /// [`PolicyError::IssuerInvalid`], [`PolicyError::IssuerTemplate`], [`PolicyError::Tenants`].
    pub(crate) fn parse(
        text: String,
        tenants: Option<OneOrMany>,
        expected: &[ExpectedClaim],
    ) -> Result<Self, PolicyError> {
        if text.is_empty() || text.trim() != text {
            return Err(PolicyError::IssuerInvalid);
        }
        let Some((before, rest)) = text.split_once('{') else {
            return match tenants {
                None => Ok(Self { text, tenant: None }),
                Some(_) => Err(PolicyError::Tenants),
            };
        };
        let (variable, after) = rest.split_once('}').ok_or(PolicyError::IssuerTemplate)?;
        // The variable is one segment or label of the identifier, so that no tenant reaches beyond.
        let ends = |text: &str, end: bool| {
            let sign = if end { text.chars().next_back() } else { text.chars().next() };
            sign.is_none_or(|sign| "/.:=".contains(sign))
        };
        if before.is_empty()
            || after.contains(['{', '}'])
            || !ends(before, true)
            || !ends(after, false)
        {
            return Err(PolicyError::IssuerTemplate);
        }
        let (entra, tid) = ENTRA_VARIABLE;
        let claim = if variable == entra { tid } else { variable };
        let claim = ClaimPath::parse(claim.to_owned().into()).ok_or(PolicyError::IssuerTemplate)?;
        let allowed = match tenants.map(OneOrMany::into_vec) {
            Some(tenants) if tenants == [ANY] => None,
            Some(tenants)
                if !tenants.is_empty()
                    && tenants.iter().all(|tenant| tenant != ANY && is_tenant(tenant)) =>
            {
                Some(tenants)
            }
            None if expected.iter().any(|(path, values)| *path == claim && values.is_exact()) => {
                None
            }
            Some(_) | None => return Err(PolicyError::Tenants),
        };
        let tenant = Tenant { before: before.to_owned(), claim, after: after.to_owned(), allowed };
        Ok(Self { text, tenant: Some(tenant) })
    }

    /// The identifier as the policy writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `name` is the identifier as the policy writes it or, of a template, may be the `iss`
    /// of a tenant.
    pub(crate) fn may_be(&self, name: &str) -> bool {
        name == self.text
            || self.tenant.as_ref().is_some_and(|Tenant { before, after, .. }| {
                let rest = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                rest.is_some_and(is_tenant)
            })
    }

    /// Whether the identifier is a template.
    pub(crate) fn is_template(&self) -> bool {
        self.tenant.is_some()
    }

    /// Whether the key whose member `issuer` is `of_key` may verify tokens whose `iss` is `named`.
    /// Microsoft Entra publishes the keys of all tenants in one set. The member of a key is the
    /// issuer of the one tenant that the key belongs to, or a template if it belongs to all. It is
    /// an issuer of version 2.0 also where the tokens are of version 1.0, so the tenants are
    /// compared. Without a template in the policy, a set has one issuer.
    pub(crate) fn owns(&self, of_key: Option<&str>, named: Option<&str>) -> bool {
        let (Some(Tenant { before, after, .. }), Some(of_key)) = (&self.tenant, of_key) else {
            return true;
        };
        let tenant = named
            .and_then(|named| named.strip_prefix(before))
            .and_then(|rest| rest.strip_suffix(after));
        of_key.contains('{')
            || Some(of_key) == named
            || of_key.split('/').any(|segment| Some(segment) == tenant)
    }

    /// Whether `named`, the `iss` of these claims, is this issuer: equal to the identifier or, for a
    /// template, to the template with the token's own tenant in it, which must be accepted.
    ///
    /// Compared by code point, never normalised (RFC 7519 §2, StringOrURI).
    pub(crate) fn is(&self, named: &str, claims: &ClaimsSet) -> bool {
        let Some(Tenant { before, claim, after, allowed }) = &self.tenant else {
            return named == self.text;
        };
        let tenant = named.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let claimed = claim.get(claims).ok().flatten().and_then(|value| value.as_str());
        tenant.is_some_and(|tenant| {
            claimed == Some(tenant)
                && is_tenant(tenant)
                && allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|own| own == tenant))
        })
    }
}

/// Whether a text can stand for the variable of a template.
fn is_tenant(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=MAX_TENANT_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

impl Expected {
    /// Whether only these values fit, so that they can be the list of tenants.
    fn is_exact(&self) -> bool {
        matches!(self, Self::Any(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TEMPLATE: &str = "https://login.example/{tid}/v2.0";

    fn parse(text: &str, tenants: Option<&[&str]>) -> Result<IssuerName, PolicyError> {
        let many = |all: &[&str]| OneOrMany::Many(all.iter().copied().map(str::to_owned).collect());
        IssuerName::parse(text.to_owned(), tenants.map(many), &[])
    }

    fn is(name: &IssuerName, iss: &str, claims: Value) -> bool {
        name.is(iss, &ClaimsSet::parse(claims.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_template_is_its_issuer_with_the_tenant_of_the_token() {
        let any = parse(TEMPLATE, Some(&["any"])).unwrap();
        let some = parse(TEMPLATE, Some(&["a", "b-1"])).unwrap();
        for (iss, tid, by_any, by_some) in [
            ("https://login.example/a/v2.0", json!("a"), true, true),
            ("https://login.example/b-1/v2.0", json!("b-1"), true, true),
            ("https://login.example/c/v2.0", json!("c"), true, false),
            ("https://login.example/A/v2.0", json!("A"), true, false),
            ("https://login.example/a/v2.0", json!("b-1"), false, false),
            ("https://login.example/a/v2.0", json!("A"), false, false),
            ("https://login.example/a/v2.0", json!(["a"]), false, false),
            ("https://login.example/a/v2.0", json!(null), false, false),
            ("https://login.example/a/v2.0/", json!("a"), false, false),
            ("https://login.example/a", json!("a"), false, false),
            ("https://login.example//v2.0", json!(""), false, false),
            ("https://login.example/a/b/v2.0", json!("a/b"), false, false),
            ("https://login.example/{tid}/v2.0", json!("{tid}"), false, false),
            ("https://login.example/any/v2.0", json!("any"), true, false),
            ("https://login.example.evil/a/v2.0", json!("a"), false, false),
        ] {
            assert_eq!(is(&any, iss, json!({ "tid": tid })), by_any, "{iss} {tid}");
            assert_eq!(is(&some, iss, json!({ "tid": tid })), by_some, "{iss} {tid}");
        }
        let by_path = parse("https://{org.name}.example", Some(&["any"])).unwrap();
        assert!(is(&by_path, "https://a.example", json!({"org": {"name": "a"}})));
        assert!(!is(&by_path, "https://a.b.example", json!({"org": {"name": "a"}})));
        let entra = parse("https://login.example/{tenantid}/v2.0", Some(&["any"])).unwrap();
        assert!(is(&entra, "https://login.example/a/v2.0", json!({"tid": "a", "tenantid": "b"})));
    }

    #[test]
    fn a_key_of_one_tenant_is_for_no_other() {
        let v1 = parse("https://sts.example/{tid}/", Some(&["any"])).unwrap();
        let v2 = parse(TEMPLATE, Some(&["any"])).unwrap();
        let one = parse("https://login.example/a/v2.0", None).unwrap();
        for (of_key, of_a, of_b) in [
            (None, true, true),
            (Some("https://login.example/{tenantid}/v2.0"), true, true),
            (Some("https://login.example/a/v2.0"), true, false),
            (Some("https://login.example/b/v2.0"), false, true),
            (Some("a"), true, false),
            (Some(""), false, false),
        ] {
            for (name, iss) in
                [(&v2, "https://login.example/T/v2.0"), (&v1, "https://sts.example/T/")]
            {
                assert_eq!(name.owns(of_key, Some(&iss.replace('T', "a"))), of_a, "{of_key:?}");
                assert_eq!(name.owns(of_key, Some(&iss.replace('T', "b"))), of_b, "{of_key:?}");
                assert_eq!(name.owns(of_key, None), of_key.is_none_or(|key| key.contains('{')));
            }
            assert!(one.owns(of_key, Some("https://login.example/a/v2.0")));
        }
    }

    #[test]
    fn a_template_has_one_variable_and_says_which_tenants_it_accepts() {
        use PolicyError::{IssuerInvalid, IssuerTemplate, Tenants};
        let any = Some(&["any"][..]);
        for (text, tenants, expected) in [
            ("", None, IssuerInvalid),
            ("https://login.example", any, Tenants),
            (TEMPLATE, None, Tenants),
            (TEMPLATE, Some(&[][..]), Tenants),
            ("https://login.example/{tid", any, IssuerTemplate),
            ("https://login.example/{}/v2.0", any, IssuerTemplate),
            ("https://login.example/{a}/{b}", any, IssuerTemplate),
            ("https://login.example/x{tid}", any, IssuerTemplate),
            ("https://login.example/{tid}x", any, IssuerTemplate),
            ("{tid}", any, IssuerTemplate),
            ("https://login.example/{a b}", any, IssuerTemplate),
        ] {
            assert_eq!(parse(text, tenants).err(), Some(expected), "{text}");
        }
    }
}
