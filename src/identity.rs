//! What the upstream is told of the caller, and which headers of the client's are therefore the gate's own.
//! Never lets a client's copy stand: an absent value removes the header, in every spelling.

use std::borrow::Cow;

use crate::principal::Caller;
use crate::request::spelling;

/// The headers that every allow sets or removes, in this order.
pub const FIXED: [&str; 5] = ["x-scopegate-id", "x-scopegate-credential", "x-scopegate-scopes", "x-scopegate-tenant", "x-scopegate-roles"];

/// Removed wherever a client sends them: a claim of identity that some upstream might believe, and method overrides,
/// which would undo a decision that was made on the method.
pub const REMOVED: [&str; 4] = ["x-forwarded-client-cert", "x-http-method-override", "x-http-method", "x-method-override"];

/// The prefix that belongs to the gate, in requests and in answers.
pub const PREFIX: &str = "x-scopegate-";

const TENANT: &str = "x-tenant-id";

/// A value that the gate knows of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Id,
    Credential,
    Scopes,
    Tenant,
    Role,
    Roles,
    /// A claim of a signed token by its path, such as `email` or `realm_access.roles`.
    Path(Box<str>),
}

impl Claim {
    /// The name behind `auth.`; what is none of the gate's own is a claim's path.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
        Some(match name {
            "id" => Self::Id,
            "credential" => Self::Credential,
            "scopes" => Self::Scopes,
            "tenant" => Self::Tenant,
            "role" => Self::Role,
            "roles" => Self::Roles,
            path if plain => Self::Path(path.into()),
            _ => return None,
        })
    }

    fn of<'c>(&self, caller: &'c Caller<'_>) -> Option<Cow<'c, str>> {
        let text = match self {
            Self::Id => Cow::Borrowed(caller.id()),
            Self::Credential => Cow::Borrowed(caller.credential),
            Self::Scopes => Cow::Borrowed(caller.scopes().joined()),
            Self::Tenant => Cow::Borrowed(caller.tenant()?),
            Self::Role => Cow::Borrowed(caller.roles().first()),
            Self::Roles => Cow::Borrowed(caller.roles().joined()),
            // Whoever shows no token with claims is its own subject.
            Self::Path(path) if **path == *"sub" => caller.claim(path).unwrap_or(Cow::Borrowed(caller.id())),
            Self::Path(path) => caller.claim(path)?,
        };
        (!text.is_empty()).then_some(text)
    }
}

/// A header's value: literals and claims, all of which must be present.
#[derive(Clone, Debug, Default)]
pub struct Template(pub Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(Box<str>),
    Claim(Claim),
}

/// Every header that tells the upstream who calls.
#[derive(Debug)]
pub struct Identity {
    headers: Vec<(Box<str>, Template)>,
    /// Names that are the gate's though no prefix says so.
    own: Vec<Box<str>>,
}

impl Identity {
    pub fn new(forward: Vec<(Box<str>, Template)>) -> Self {
        let claims = [Claim::Id, Claim::Credential, Claim::Scopes, Claim::Tenant, Claim::Roles];
        let fixed = FIXED.iter().zip(claims).map(|(name, claim)| (Box::from(*name), Template(vec![Part::Claim(claim)])));
        let own = forward.iter().map(|(name, _)| name.clone()).chain(REMOVED.map(Box::from)).collect();
        Self { headers: fixed.chain(forward).collect(), own }
    }

    /// Whether a header of this name is set, for some callers or for all.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| **own == *name)
    }

    /// Makes one more name the gate's own: that of a header that somebody else sets.
    pub fn own(&mut self, name: &str) {
        self.own.push(name.into());
    }

    /// Every identity header with its value for this caller; `None` removes it.
    pub fn headers<'a>(&'a self, caller: Option<&'a Caller<'_>>) -> impl Iterator<Item = (&'a str, Option<Cow<'a, str>>)> {
        self.headers.iter().map(move |(name, template)| (&**name, caller.and_then(|caller| template.value(caller))))
    }

    /// Whether a header of the operator's choice is set for this caller.
    pub fn sets(&self, name: &str, caller: Option<&Caller<'_>>) -> bool {
        let chosen = self.headers.get(FIXED.len()..).unwrap_or_default();
        chosen.iter().any(|(own, template)| own.eq_ignore_ascii_case(name) && caller.is_some_and(|caller| template.value(caller).is_some()))
    }

    /// Whether a header that a client sent is the gate's own, in whatever mix of case and of characters between letters and digits.
    /// `x-tenant-id` stays where it says what the credential says.
    pub fn owns(&self, name: &str, value: &[u8], caller: Option<&Caller<'_>>) -> bool {
        // Every name in question but those of `forward.headers` starts with `x`; most headers do not.
        let is_x = matches!(name.as_bytes().first(), Some(b'x' | b'X'));
        if is_x && (spelling::starts(name, PREFIX) || REMOVED.iter().any(|own| spelling::same(name, own))) {
            return true;
        }
        if is_x && spelling::same(name, TENANT) {
            let tenant = caller.and_then(Caller::tenant);
            return !spelling::is_plain(name) || tenant.is_none_or(|tenant| tenant.as_bytes() != value);
        }
        self.own.len() > REMOVED.len() && self.own.iter().any(|own| spelling::same(name, own))
    }
}

impl Template {
    fn value<'c>(&self, caller: &'c Caller<'_>) -> Option<Cow<'c, str>> {
        if let [Part::Claim(claim)] = self.0.as_slice() {
            return claim.of(caller).map(header_safe);
        }
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Claim(claim) => text.push_str(&header_safe(claim.of(caller)?)),
            }
        }
        Some(Cow::Owned(text))
    }
}

/// Visible ASCII and space stand for themselves; anything else, and then `%` too, is percent-encoded (RFC 3986 §2.1).
fn header_safe(text: Cow<'_, str>) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return text;
    }
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if plain(byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_own_header_is_owned() {
        let identity = Identity::new(vec![("user-id".into(), Template::default())]);
        for own in [
            "x-scopegate-id",
            "X_Scopegate_Id",
            "x-scopegate_anything",
            "X-Forwarded-Client-Cert",
            "user_id",
            "User-Id",
            "X-HTTP-Method-Override",
            "x_tenant_id",
            "x-tenant-id",
            "X.Scopegate.Id",
            "X!Scopegate!Roles",
            "x-scopegate~roles",
            "X.Forwarded-Client|Cert",
            "x'http'method'override",
            "X+HTTP-Method",
            "x%method%override",
            "x.tenant-id",
            "User*Id",
            "user.id",
        ] {
            assert!(identity.owns(own, b"v", None), "{own}");
        }
        for other in ["x-scopegate", "xxscopegate-id", "x-scope", "user-ids", "userid", "user.ids", "userxid", "x-request-id", "authorization", "x"] {
            assert!(!identity.owns(other, b"v", None), "{other}");
        }
    }

    #[test]
    fn no_character_of_a_token_makes_another_name_of_an_own_header() {
        let mut identity = Identity::new(vec![("x-user-id".into(), Template::default())]);
        identity.own("x-who-calls");
        let names = FIXED.iter().chain(&REMOVED).chain(&[TENANT, "x-user-id", "x-who-calls"]);
        for (name, other) in names.flat_map(|name| "!#$%&'*+-.^_`|~".chars().map(move |other| (name, other))) {
            // All dashes, and each by itself.
            for said in [name.replace('-', &other.to_string()), name.replacen('-', &other.to_string(), 1)] {
                assert!(identity.owns(&said, b"v", None) && identity.owns(&said.to_ascii_uppercase(), b"v", None), "{said}");
            }
        }
    }

    #[test]
    fn values_that_a_header_cannot_carry_are_percent_encoded() {
        assert_eq!(header_safe("a b".into()), "a b");
        assert_eq!(header_safe("50%".into()), "50%");
        assert_eq!(header_safe("caf\u{e9}\r\n%".into()), "caf%C3%A9%0D%0A%25");
    }
}
