//! Key documents of the tests: small, real, and of no use to anybody.
//! Holds no private key.

/// A JWK Set of as many keys; the one public key of RFC 8037 appendix A.2 under each id.
pub fn jwks(ids: &[&str]) -> String {
    let key = |id: &&str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#);
    format!(r#"{{"keys":[{}]}}"#, ids.iter().map(key).collect::<Vec<_>>().join(","))
}

/// As Google publishes them.
pub fn certificates(id: &str) -> String {
    serde_json::json!({ id: CERTIFICATE }).to_string()
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUI4JeD8Eu8iRCCC9pdqsVMdMgUu4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJa2V5cy50ZXN0MCAXDTI2MTEyMjAwMjM0MloYDzIxMjYxMDI5
MDAyMzQyWjAUMRIwEAYDVQQDDAlrZXlzLnRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASmmXLadeQNriywgqU/iXZjl1Iy1MAahPrAUerg4kjuHfXwi46rL4pJ
dLut7/06bK2Di7I267HpEsc8173BLlqto1MwUTAdBgNVHQ4EFgQU49lSrDyYrf1+
ef0wswLk0hdtJc8wHwYDVR0jBBgwFoAU49lSrDyYrf1+ef0wswLk0hdtJc8wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA1YNoV6b9z4lBEBk4cvZs
QAs8YS3rzMnV6eS4aWiv9jMCICyveTklY2oh/BlyBSTRERqcq1oP5nuZRWAtSF5p
05yw
-----END CERTIFICATE-----
";
