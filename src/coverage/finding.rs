//! What a comparison found, by kind, for people and for programs.
//! Names operations, rules, scopes and ids; holds no token.

use serde::Serialize;

/// In the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    NoRule,
    Public,
    Refused,
    RuleMatchesNothing,
    ScopeNotHeld,
    RoleNotHeld,
    ReachesNothing,
    RequestWithoutRule,
    // From here on, only told.
    PerhapsNotHeld,
    NeverCalled,
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub kind: Kind,
    /// The operation, rule, scope, id or request in question.
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// What else is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Operations of the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<usize>,
    pub rules: usize,
    /// Lines of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<u64>,
    pub findings: Vec<Finding>,
    pub notes: Vec<Finding>,
}

impl Kind {
    /// Whether it says that nothing protects an operation.
    pub fn is_unprotected(self) -> bool {
        matches!(self, Self::NoRule | Self::Public)
    }

    fn is_note(self) -> bool {
        self >= Self::PerhapsNotHeld
    }

    /// What so many of a kind are.
    pub fn title(self, count: usize) -> String {
        let (one, many) = match self {
            Self::NoRule => ("operation has no rule", "operations have no rule"),
            Self::Public => ("operation is protected by the document and public here", "operations are protected by the document and public here"),
            Self::Refused => ("operation is refused whatever the rule", "operations are refused whatever the rule"),
            Self::RuleMatchesNothing => ("rule matches nothing", "rules match nothing"),
            Self::ScopeNotHeld => ("scope is held by nobody", "scopes are held by nobody"),
            Self::RoleNotHeld => ("role is held by nobody", "roles are held by nobody"),
            Self::ReachesNothing => ("credential reaches nothing", "credentials reach nothing"),
            Self::RequestWithoutRule => ("request was denied for want of a rule", "requests were denied for want of a rule"),
            Self::PerhapsNotHeld => ("scope is held by nobody who can be listed", "scopes are held by nobody who can be listed"),
            Self::NeverCalled => ("operation was never called", "operations were never called"),
            Self::Note => ("note", "notes"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

impl Finding {
    pub fn new(kind: Kind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), operation_id: None, detail: None, count: None }
    }

    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

impl Report {
    pub fn add(&mut self, finding: Finding) {
        if finding.kind.is_note() { self.notes.push(finding) } else { self.findings.push(finding) }
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.add(Finding::new(Kind::Note, text));
    }

    /// By kind; within a kind as they were found, which is the order of the files.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.kind);
        self.notes.sort_by_key(|finding| finding.kind);
    }

    /// Whether some operation has nothing before it.
    pub fn is_unprotected(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind.is_unprotected())
    }
}
