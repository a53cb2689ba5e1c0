//! The keys of a source of credentials.
//! Says nothing of which kind may have which: `config/credentials` knows.

use super::{Key, Shape, key};

pub(super) const CREDENTIAL: &[Key] = &[
    key(
        "kind",
        Shape::Choice(&["static", "jwt", "firebase", "backstage", "webhook", "mtls", "introspection", "api_key"], &[]),
        "what proves it: an entry of a token file, a managed key of the store, a signed JWT, a Firebase ID token, a Backstage service token, one static token, a client certificate, or the issuer when asked (RFC 7662)",
    ),
    key("from", Shape::Texts, "places in order: `bearer`, `header:NAME`, `cookie:NAME`, `query:NAME` (on WebSocket upgrades); default `bearer`"),
    key("forward", Shape::Bool, "whether the upstream still sees the credential; default `false`"),
    key("scopes", Shape::Texts, "scopes of every caller of this source, beside those of its token"),
    key("file", Shape::Text, "`static`: the token file, relative to this file"),
    key("max_size", Shape::Size, "`static`: largest token file that is read; default `95MiB`"),
    key("algorithms", Shape::Texts, "`jwt`: what its issuer signs with, out of HS, RS and PS 256, 384, 512, ES256, ES384, EdDSA; required"),
    key("secret", Shape::Text, "`jwt`: shared secret for HS algorithms, at least as long as the hash"),
    key("secret_file", Shape::Text, "`jwt`: a file with it"),
    key("secret_base64", Shape::Text, "`jwt`: the same in base64"),
    key("public_key_file", Shape::Text, "`jwt`: PEM, a public key or a certificate"),
    key("jwks_file", Shape::Text, "`jwt`: a JSON Web Key Set (RFC 7517)"),
    key("jwks_url", Shape::Text, "`jwt`: where the issuer publishes it; https, or this machine"),
    key("issuer_url", Shape::Text, "`jwt`: an OpenID Provider, whose keys are discovered; is the `issuer` too"),
    key("issuer", Shape::Text, "`jwt`, `introspection`: the `iss` that a token must have"),
    key("audiences", Shape::Texts, "`jwt`, `introspection`: one of these must be in `aud`; without them a JWT with `aud` is refused"),
    key("leeway", Shape::Duration, "`jwt`, `firebase`: by how much clocks may differ; default `60s`, at most `5m`"),
    key("max_lifetime", Shape::Duration, "`jwt`: longest time from `iat` to `exp`; `backstage`: from now to `exp`, default `1h`"),
    key("typ", Shape::Text, "`jwt`: the only `typ`, such as `at+jwt`; default none, `JWT` or `at+jwt`"),
    key(
        "claims",
        Shape::Object(CLAIMS),
        "`jwt`, `firebase`, `introspection`: where a token says what, each a path or a list of paths such as `realm_access.roles`",
    ),
    key("project_id", Shape::Text, "`firebase`: the project"),
    key("keys_url", Shape::Text, "`firebase`: the key document, certificates or JWKS; default Google's"),
    key("keys", Shape::List(&Shape::Object(BACKSTAGE_KEY)), "`backstage`: shared secrets, all of which verify, at most 8"),
    key("plugin", Shape::Text, "`backstage`: the plugin behind this gate"),
    key("plugins", Shape::Map(&Shape::Text, "a plugin"), "`backstage`: plugins that may call, with their base URLs"),
    key("external_access", Shape::List(&Shape::Object(EXTERNAL)), "`backstage`: callers from outside, as under `backend.auth.externalAccess`"),
    key("noop", Shape::Bool, "`backstage`: `true` lets every request in as Backstage's; in development mode only"),
    key("token", Shape::Text, "`webhook`: the token, with or without the leading `Bearer `"),
    key("token_file", Shape::Text, "`webhook`: a file with it"),
    key("identities", Shape::List(&Shape::Object(IDENTITY)), "`mtls`: who is known by which name of its certificate"),
    key("url", Shape::Text, "`introspection`: the endpoint; https, or this machine"),
    key("client_id", Shape::Text, "`introspection`: as whom the gate asks"),
    key("client_secret", Shape::Text, "`introspection`: its secret"),
    key("client_secret_file", Shape::Text, "`introspection`: a file with it"),
    key("cache", Shape::Duration, "`introspection`: how long an answer counts, never beyond `exp`; default `60s`, at most `5m`"),
    key("timeout", Shape::Duration, "`introspection`: how long a request waits for it; default `100ms`, under Envoy's own 200 ms"),
    key("format", Shape::Choice(&["scopegate", "uuid"], &[]), "`api_key`: `sg_…` keys, or UUIDs that were imported; default `scopegate`"),
    key("header", Shape::Text, "`api_key`: the header, in place of `from`; default `x-api-key`"),
    key("environment", Shape::Text, "`api_key`: the second part of new keys, `sg_ENVIRONMENT_…`; default `live`"),
    key(
        "mode",
        Shape::Choice(&["enforce", "shadow"], &[]),
        "`shadow`: whoever this source proves is let through on every route that takes it, and what would have been denied is recorded; default `enforce`",
    ),
    key("profile", Shape::Object(PROFILE), "`jwt`, `firebase`: the caller is the store's profile with the token's e-mail; none is 404"),
];

const CLAIMS: &[Key] = &[
    key("id", Shape::Texts, "who it is; default `sub`"),
    key("scopes", Shape::Texts, "text with spaces, or list; default `scope`, `scp`, `scopes` and `permissions` together"),
    key("tenant", Shape::Texts, "default `tenant_id`, then `tenant`; for Firebase `firebase.tenant` first"),
    key("role", Shape::Texts, "text or list; default `role` and `roles`"),
    key("email", Shape::Texts, "what `{{auth.email}}` is; default `email`, and nothing where `email_verified` says that it is not confirmed"),
];

const BACKSTAGE_KEY: &[Key] = &[
    key("secret", Shape::Text, "base64 as Node reads it; under 24 bytes is a warning"),
    key("secret_file", Shape::Text, "a file with it"),
    key("id", Shape::Text, "who signs with this key; default `backstage-server`"),
];

const EXTERNAL: &[Key] = &[
    key("type", Shape::Choice(&["static", "legacy", "jwks"], &[]), "how it proves itself"),
    key("options", Shape::Object(EXTERNAL_OPTIONS), "by type"),
    key(
        "accessRestrictions",
        Shape::List(&Shape::Object(RESTRICTION)),
        "only these plugins, and of ours only these permissions or actions, as scopes",
    ),
];

const EXTERNAL_OPTIONS: &[Key] = &[
    key("token", Shape::Text, "`static`: the token"),
    key("token_file", Shape::Text, "`static`: a file with it"),
    key("secret", Shape::Text, "`legacy`: base64"),
    key("secret_file", Shape::Text, "`legacy`: a file with it"),
    key("subject", Shape::Text, "`static`, `legacy`: who it is"),
    key("url", Shape::Text, "`jwks`: the key set; https, or this machine"),
    key("issuer", Shape::Texts, "`jwks`: the `iss`"),
    key("algorithm", Shape::Texts, "`jwks`: what the issuer signs with"),
    key("audience", Shape::Texts, "`jwks`: one of these in `aud`"),
    key("subjectPrefix", Shape::Text, "`jwks`: goes before the subject, as in `external:PREFIX:SUBJECT`"),
];

const RESTRICTION: &[Key] = &[
    key("plugin", Shape::Text, "where it may be used"),
    key("permission", Shape::Texts, "only these permissions, which become its scopes"),
    key(
        "permissionAttribute",
        Shape::Object(&[key("action", Shape::Texts, "`create`, `read`, `update`, `delete`: become the scopes `PLUGIN:ACTION`")]),
        "only these actions",
    ),
];

const IDENTITY: &[Key] = &[
    key("spiffe", Shape::Text, "a URI of the certificate"),
    key("dns", Shape::Text, "a DNS name of it"),
    key("subject", Shape::Text, "its whole subject (RFC 4514)"),
    key("id", Shape::Text, "who that is"),
    key("scopes", Shape::Texts, "what it holds"),
    key("roles", Shape::Texts, "its roles"),
    key("tenant", Shape::Text, "its tenant"),
];

const PROFILE: &[Key] = &[key("claim", Shape::Text, "the claim that holds the e-mail address; default `email`")];
