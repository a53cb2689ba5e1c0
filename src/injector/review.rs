//! An AdmissionReview's bytes into its request, and a verdict into the bytes of its answer.
//! Takes no other version than `admission.k8s.io/v1`; quotes nothing of a body that it cannot read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::patch::Operation;

const VERSION: &str = "admission.k8s.io/v1";
/// The API server cuts what is longer.
const WARNING: usize = 256;
/// Of a refusal; nobody needs a longer one.
pub const MESSAGE: usize = 1024;
/// The API server leaves out what is too much.
const WARNINGS: usize = 12;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

impl Review {
    /// `Err` where there is nobody to answer.
    pub fn read(body: &[u8]) -> Result<Request, String> {
        // What serde says may quote a pod, in which there may be a secret.
        let unreadable =
            |error: serde_json::Error| format!("the body is no AdmissionReview in JSON (line {}, column {})", error.line(), error.column());
        let review: Self = serde_json::from_slice(body).map_err(unreadable)?;
        if review.kind != "AdmissionReview" || review.api_version != VERSION {
            return Err(format!("the body is no AdmissionReview of `{VERSION}`; set `admissionReviewVersions: [v1]`"));
        }
        let request = review.request.ok_or("the AdmissionReview has no `request`")?;
        if request.uid.is_empty() { Err("the AdmissionReview's request has no `uid`".into()) } else { Ok(request) }
    }
}

impl Request {
    /// Its object, where that is a pod that is being made.
    pub fn created_pod(&self) -> Result<&Map<String, Value>, String> {
        let Kind { group, version, kind } = &self.kind;
        let text = |key: &str| self.object.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_pod = (&**group, &**version, &**kind) == ("", "v1", "Pod") && (text("apiVersion"), text("kind")) == ("v1", "Pod");
        let right = "the webhook is for `operations: [CREATE]`, `resources: [pods]`, `apiVersions: [v1]`";
        if !is_pod || !self.sub_resource.is_empty() {
            return Err(format!("the request is not about a pod itself; {right}"));
        }
        if self.operation != "CREATE" {
            return Err(format!("the request makes no pod; {right}"));
        }
        self.object.as_object().ok_or_else(|| format!("the request has no object; {right}"))
    }

    /// As the log has it.
    pub fn namespace(&self) -> String {
        line(&self.namespace, WARNING)
    }

    /// What the log calls it: a controller's pod has its name later.
    pub fn pod(&self) -> String {
        let meta = |key: &str| self.object.get("metadata").and_then(|meta| meta.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = Some(&*self.name).filter(|name| !name.is_empty()).or_else(|| meta("name"));
        let name = name.map(str::to_owned).or_else(|| meta("generateName").map(|start| format!("{start}…")));
        line(&name.unwrap_or_default(), WARNING)
    }
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub patch: Vec<Operation>,
    pub warnings: Vec<String>,
    /// Allowed where there is none.
    pub refusal: Option<String>,
}

impl Verdict {
    /// As much of its warnings as anybody is shown.
    pub fn shown(&self) -> Vec<String> {
        self.warnings.iter().take(WARNINGS).map(|warning| line(warning, WARNING)).collect()
    }

    pub fn write(&self, uid: &str) -> Vec<u8> {
        let mut response = Map::new();
        let mut say = |key: &str, value: Value| drop(response.insert(key.to_owned(), value));
        say("uid", uid.into());
        say("allowed", self.refusal.is_none().into());
        if let Some(message) = &self.refusal {
            say("status", json!({"status": "Failure", "code": 422, "reason": "Invalid", "message": message}));
        }
        if !self.patch.is_empty() {
            let patch = Value::from_iter(self.patch.iter().map(Operation::json)).to_string();
            say("patchType", "JSONPatch".into());
            say("patch", STANDARD.encode(patch).into());
        }
        if !self.warnings.is_empty() {
            say("warnings", self.shown().into());
        }
        json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}).to_string().into_bytes()
    }
}

/// One line of at most so many bytes: names in a pod are checked after the webhooks alone.
pub fn line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for letter in text.chars() {
        let start = line.len();
        if letter.is_control() {
            line.extend(letter.escape_debug());
        } else {
            line.push(letter);
        }
        if line.len() > most {
            line.truncate(start);
            while line.len() > most - '…'.len_utf8() {
                line.pop();
            }
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_and_never_longer_than_is_shown() {
        for text in ["x".repeat(257), "ä".repeat(200), format!("x{}", "…".repeat(200)), "x\n".repeat(200), format!("{}\u{1}", "x".repeat(255))] {
            let cut = line(&text, WARNING);
            assert!(cut.len() <= WARNING && cut.len() > WARNING - 12 && cut.ends_with('…') && !cut.contains(char::is_control), "{cut}");
        }
        for text in ["as it is", &"x".repeat(256), ""] {
            assert_eq!(line(text, WARNING), text);
        }
        assert_eq!(line("a\nb", WARNING), "a\\nb");
    }
}
