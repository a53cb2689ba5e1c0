//! What the calls of a second factor take, and what they tell.
//! Has no printable form where a code or a secret is in it.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::body::{Members, Object, text};
use crate::mfa::code::Code;
use crate::transport::bounds;

/// A code as somebody types it
#[derive(ToSchema)]
#[schema(example = json!({"code": "123456"}))]
pub struct Typed {
    /// Six digits of an authenticator, or a backup code; spaces count for nothing
    #[schema(value_type = String, max_length = 32)]
    pub code: Code,
}

/// Whose second factor is taken away
#[derive(ToSchema)]
#[schema(example = json!({"realm": "sessions", "subject": "ada@example.com"}))]
pub struct Whose {
    /// The credential's name in the configuration, or `profile`
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub realm: Box<str>,
    /// The principal's id
    #[schema(value_type = String, min_length = 1, max_length = 4096)]
    pub subject: Box<str>,
    /// The principal's tenant, where it is not the caller's
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub tenant: Option<Box<str>>,
}

/// Nothing is said
#[derive(ToSchema)]
#[schema(example = json!({}), max_properties = 0)]
pub struct Nothing {}

/// Shown this once
#[derive(Serialize, ToSchema)]
pub struct Setup {
    /// Base 32, for authenticators without a camera
    pub secret: String,
    pub otpauth_uri: String,
    /// The same as a picture
    pub qr_svg: String,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Verified {
    /// The first code of a secret that waits
    Pending { verified: bool },
    /// For `X-MFA-Token`
    Enabled { mfa_token: String, expires_in: i64 },
}

#[derive(Serialize, ToSchema)]
pub struct Enabled {
    pub enabled: bool,
    /// Shown this once
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_codes: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub struct Remaining {
    pub remaining: i64,
    /// RFC 3339
    pub generated_at: Option<String>,
}

/// Shown this once
#[derive(Serialize, ToSchema)]
pub struct Renewed {
    pub backup_codes: Vec<String>,
    pub generated_at: String,
}

impl Members for Nothing {
    fn read(_object: &mut Object<'_>) -> Option<Self> {
        Some(Self {})
    }
}

impl Members for Typed {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let code = object.required("code", |value, at| {
            let code = value.as_str().and_then(Code::parse);
            if code.is_none() {
                at.fault("is neither six digits nor a backup code `xxxxx-xxxxx`");
            }
            code
        });
        Some(Self { code: code? })
    }
}

impl Members for Whose {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let name = text(1..=bounds::MANAGED_NAME);
        let realm = object.required("realm", &name);
        // As long as a claim of a token may be.
        let subject = object.required("subject", text(1..=4096));
        let tenant = object.optional("tenant", &name);
        Some(Self { realm: realm?, subject: subject?, tenant: tenant? })
    }
}
