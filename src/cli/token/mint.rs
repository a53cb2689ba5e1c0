//! `scopegate token mint`: claims and a shared secret into a signed JWT.
//! Takes a secret from a file or from standard input, never from an argument, and none that is shorter than its hash.

use std::path::PathBuf;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{secret, secret_base64};
use crate::config::quantity;
use crate::gate::unix_now;
use crate::jose::Algorithm;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("key").required(true)))]
pub struct Mint {
    /// A file with a base64 secret of Backstage's: mints a service token of one hour; `-` is standard input
    #[arg(long, value_name = "FILE", group = "key", conflicts_with_all = ["claim", "ttl", "alg"])]
    secret_base64_file: Option<PathBuf>,
    /// A file with the secret, less one line end; `-` is standard input
    #[arg(long, value_name = "FILE", group = "key")]
    secret_file: Option<PathBuf>,
    /// A claim, `name=text` or `name:=JSON`; may be given more than once
    #[arg(long, value_name = "CLAIM", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// How long the token lasts, such as `15m` or `24h`
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = ttl)]
    ttl: i64,
    /// HS256, HS384 or HS512
    #[arg(long, value_name = "ALG", default_value = "HS256", value_parser = algorithm)]
    alg: Algorithm,
}

impl Mint {
    pub fn run(self) -> Result<Zeroizing<String>, String> {
        let now = unix_now();
        if let Some(file) = &self.secret_base64_file {
            // What Backstage's own issuer makes: no `typ`, no `iat`, no `aud`.
            let claims = json!({"sub": "backstage-server", "exp": now.saturating_add(3600)});
            return Ok(sign(Algorithm::Hs256, &secret_base64(file)?, &json!({"alg": "HS256"}), &claims));
        }
        let file = self.secret_file.ok_or("there is no secret; name a file with --secret-file")?;
        let key = secret(&file)?;
        // RFC 7518 §3.2.
        if key.len() < self.alg.min_hmac() {
            return Err(format!(
                "{} holds a secret of {} bytes; {} wants {} or more, such as `openssl rand -hex {}` makes",
                file.display(),
                key.len(),
                self.alg.as_str(),
                self.alg.min_hmac(),
                self.alg.min_hmac()
            ));
        }
        let mut claims: Map<String, Value> = Map::new();
        for (name, value) in self.claim {
            if claims.contains_key(&name) {
                return Err(format!("claim `{}` is given twice; keep one", name.escape_debug()));
            }
            claims.insert(name, value);
        }
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(now.saturating_add(self.ttl)));
        Ok(sign(self.alg, &key, &json!({"alg": self.alg.as_str(), "typ": "JWT"}), &Value::Object(claims)))
    }
}

fn sign(algorithm: Algorithm, secret: &[u8], header: &Value, claims: &Value) -> Zeroizing<String> {
    let longer = [(Algorithm::Hs384, hmac::HMAC_SHA384), (Algorithm::Hs512, hmac::HMAC_SHA512)];
    let hash = longer.into_iter().find(|(longer, _)| *longer == algorithm).map_or(hmac::HMAC_SHA256, |(_, hash)| hash);
    let mut token = Zeroizing::new(format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string())));
    let signature = hmac::sign(&hmac::Key::new(hash, secret), token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

/// As in HTTPie: the first `=` ends the name, and a colon before it says that JSON follows.
fn claim(text: &str) -> Result<(String, Value), String> {
    let wrong = "a claim is `name=text` or `name:=JSON`";
    let (name, said) = text.split_once('=').ok_or(wrong)?;
    let (name, value) = match name.strip_suffix(':') {
        Some(name) => (name, serde_json::from_str(said).map_err(|_| "what follows `:=` is not JSON; text follows a plain `=`")?),
        None => (name, Value::from(said)),
    };
    match name {
        "" => Err(wrong.into()),
        "iat" | "exp" => Err(format!("`{name}` is set by the clock and --ttl")),
        _ => Ok((name.to_owned(), value)),
    }
}

fn ttl(text: &str) -> Result<i64, String> {
    let duration = quantity::duration(text).and_then(|duration| i64::try_from(duration.as_secs()).ok());
    duration.filter(|seconds| *seconds > 0).ok_or_else(|| "a lifetime is a duration such as `15m`, of a second or more".into())
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).filter(|algorithm| algorithm.is_hmac()).ok_or_else(|| "a secret signs with HS256, HS384 or HS512".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_text_unless_a_colon_says_json() {
        for (text, name, value) in [
            ("sub=user-123", "sub", json!("user-123")),
            ("n=1", "n", json!("1")),
            ("n:=1", "n", json!(1)),
            ("admin:=true", "admin", json!(true)),
            ("https://x.example/roles:=[\"a\"]", "https://x.example/roles", json!(["a"])),
            ("a:b=c", "a:b", json!("c")),
            ("q=a:=b", "q", json!("a:=b")),
            ("empty=", "empty", json!("")),
        ] {
            assert_eq!(claim(text).unwrap(), (name.to_owned(), value), "{text}");
        }
        for text in ["", "sub", "=x", ":=1", "n:=", "n:=x", "exp=1", "iat:=1"] {
            assert!(claim(text).is_err(), "{text}");
        }
    }
}
