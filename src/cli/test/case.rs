//! What a file of cases says, in the terms of a decision.
//! Has no printable form: a header or a body may hold a credential.

use std::path::PathBuf;

pub struct File {
    pub path: PathBuf,
    /// As it stands in the file.
    pub config: Option<String>,
    pub cases: Vec<Case>,
}

pub struct Case {
    pub name: String,
    pub place: (u64, u64),
    pub request: Request,
    pub who: Who,
    /// Seconds since 1970.
    pub now: Option<i64>,
    pub expect: Expect,
}

pub struct Request {
    pub method: String,
    pub target: String,
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub websocket: bool,
}

/// Whom to decide on.
pub enum Who {
    /// Whoever the request's own headers prove.
    Shown,
    As(String),
    Made(Made),
}

pub struct Made {
    pub place: (u64, u64),
    pub id: String,
    pub credential: Option<String>,
    pub scopes: Vec<String>,
    pub roles: Vec<String>,
    pub tenant: Option<String>,
    /// Seconds.
    pub mfa_age: Option<i64>,
}

/// What is compared: only what is said. An empty text is for what must not be there.
#[derive(Default)]
pub struct Expect {
    pub decision: Option<String>,
    pub status: Option<u16>,
    pub reason: Option<String>,
    pub rule: Option<String>,
    /// Sorted.
    pub missing_scopes: Option<Vec<String>>,
    pub id: Option<String>,
    pub tenant: Option<String>,
    pub headers: Vec<(String, String)>,
    pub shadow: Option<String>,
}

impl Request {
    /// Method and path; a query may hold a credential.
    pub fn line(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        format!("{} {}", self.method, path)
    }
}
