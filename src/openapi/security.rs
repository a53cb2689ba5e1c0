//! `security` of a document or an operation into alternatives of scopes.
//! Looks at no scheme's kind: what a requirement names is what the caller must hold.

use serde_json::Value;

/// Names that one alternative needs all of: OAuth scopes, or roles where the scheme is another (OpenAPI 3.1.0 §4.8.30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub schemes: Vec<String>,
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Neither the operation nor the document says anything.
    Unsaid,
    /// `security: []`: nobody has to show anything.
    Open,
    /// One of these; `optional` where nothing at all is one of them, too.
    Needs { alternatives: Vec<Requirement>, optional: bool },
}

impl Security {
    /// Whether no request may pass without a credential.
    pub fn is_protected(&self) -> bool {
        matches!(self, Self::Needs { optional: false, .. })
    }
}

/// What the operation says, else what the document says.
pub fn security(own: Option<&Value>, of_document: Option<&Value>) -> Result<Security, String> {
    let Some(said) = own.or(of_document) else { return Ok(Security::Unsaid) };
    let list = said.as_array().ok_or("`security` is no list; it is one such as `[{key: []}]`, or `[]` for what is open")?;
    let (mut alternatives, mut optional) = (Vec::new(), false);
    for item in list {
        let schemes = item.as_object().ok_or("`security` has an entry that is no mapping; it is one such as `{oauth: [orders:read]}`")?;
        if schemes.is_empty() {
            optional = true;
            continue;
        }
        let mut requirement = Requirement { schemes: Vec::new(), scopes: Vec::new() };
        for (scheme, scopes) in schemes {
            requirement.schemes.push(scheme.clone());
            let scopes = scopes.as_array().ok_or_else(|| format!("`security.{}` is no list of scopes", scheme.escape_debug()))?;
            for scope in scopes {
                let scope = scope.as_str().ok_or_else(|| format!("`security.{}` has a scope that is no text", scheme.escape_debug()))?;
                if !requirement.scopes.iter().any(|known| known == scope) {
                    requirement.scopes.push(scope.to_owned());
                }
            }
        }
        alternatives.push(requirement);
    }
    Ok(if alternatives.is_empty() { Security::Open } else { Security::Needs { alternatives, optional } })
}
