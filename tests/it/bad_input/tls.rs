//! Certificates and keys with a fault, towards clients and towards the upstream: each is named with what would be right.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use rcgen::date_time_ymd;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use super::{Case, GOOD, ROUTES, one};
use crate::harness::authority::Authority;
use crate::harness::write_secret;

const UPSTREAM: &str = "upstream: http://127.0.0.1:1\n";

/// With two good pairs, an authority, and files that are none of these.
fn case(config: &str) -> Case {
    let authority = Authority::new("ours");
    let case = Case::new(&format!("{ROUTES}{config}\n"), GOOD);
    let folder = case.0.path();
    authority.issue(&["a.test"]).write(folder, "a");
    authority.issue(&["b.test"]).write(folder, "b");
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("empty.pem"), "").unwrap();
    std::fs::write(folder.join("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(folder.join("cut.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let own = std::fs::read_to_string(folder.join("a.crt")).unwrap();
    std::fs::write(folder.join("turned.crt"), authority.pem() + &own).unwrap();
    std::fs::write(folder.join("chain.crt"), own + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    write_secret(&folder.join("odd.key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    write_secret(&folder.join("sealed.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    case
}

#[test]
fn every_fault_of_a_certificate_for_clients_is_named() {
    for (tls, said) in [
        ("{}", "`tls` has no `cert`; it is `{cert: tls.crt, key: tls.key}`, PEM files both (scopegate.yaml:4:6)"),
        ("{cert: a.crt}", "`tls` has no `key`; it is `{cert: tls.crt, key: tls.key}`"),
        ("{cert: [], key: []}", "`tls` has no `cert`"),
        ("{cert: a.crt, key: b.key}", "`tls.key` `b.key` is not the key of the first certificate of `tls.cert` `a.crt`; name the one"),
        ("{cert: turned.crt, key: a.key}", "`tls.key` `a.key` is not the key of the first certificate of `tls.cert` `turned.crt`"),
        ("{cert: [a.crt, b.crt], key: a.key}", "`tls.cert` names 2 and `tls.key` 1; each certificate has its key, in the same order"),
        ("{cert: [a.crt, b.crt], key: [b.key, a.key]}", "`tls.key` `b.key` is not the key of the first certificate of `tls.cert` `a.crt`"),
        ("{cert: nowhere.crt, key: a.key}", "`tls.cert` `nowhere.crt` cannot be read: No such file or directory"),
        ("{cert: a.crt, key: nowhere.key}", "`tls.key` `nowhere.key` cannot be read: No such file or directory"),
        ("{cert: ., key: a.key}", "`tls.cert` `.` cannot be read: Is a directory"),
        ("{cert: empty.pem, key: a.key}", "`tls.cert` `empty.pem` holds no certificate; it is PEM with `-----BEGIN CERTIFICATE-----`"),
        ("{cert: cut.pem, key: a.key}", "`tls.cert` `cut.pem` holds no certificate"),
        ("{cert: a.key, key: a.key}", "`tls.cert` `a.key` holds no certificate"),
        ("{cert: broken.pem, key: a.key}", "`tls.cert` `broken.pem` has a certificate that cannot be read, number 1"),
        ("{cert: chain.crt, key: a.key}", "`tls.cert` `chain.crt` has a certificate that cannot be read, number 2"),
        ("{cert: a.crt, key: odd.key}", "`tls.key` `odd.key` is no key that can be used; it is ECDSA, Ed25519, or RSA"),
        ("{cert: a.crt, key: sealed.key}", "`tls.key` `sealed.key` holds no private key; it is PEM with `-----BEGIN PRIVATE KEY-----`"),
        ("{cert: a.crt, key: a.key, client_ca: empty.pem}", "`tls.client_ca` `empty.pem` holds no certificate"),
        ("{cert: a.crt, key: a.key, client_ca: nowhere.pem}", "`tls.client_ca` `nowhere.pem` cannot be read: No such file"),
        ("{cert: a.crt, key: a.key, client_ca: broken.pem}", "`tls.client_ca` `broken.pem` has a certificate that cannot be read, number 1"),
        (
            "{cert: a.crt, key: a.key, require_client: true}",
            "`tls.require_client` asks for a certificate that nobody could vouch for; set `tls.client_ca`",
        ),
        ("{cert: a.crt, key: a.key, clients: ca.pem}", "key `tls.clients` is unknown"),
    ] {
        let faults = case(&format!("{UPSTREAM}tls: {tls}")).faults();
        assert!(faults.iter().any(|fault| fault.contains(said)), "{tls}: {faults:?} do not say {said:?}");
        // Both at once where both are wrong.
        let more = faults.len() - usize::from(tls.contains("[], ") || tls.contains("[b.key, ") || tls == "{}");
        assert_eq!(more, 1, "{tls}: {faults:?}");
    }
    one(
        &case("tls: {cert: a.crt, key: a.key}").faults(),
        "`tls` is for the proxy door, and there is none; set `upstream: http://host:port` or remove it",
    );
    let all = case(&format!("{UPSTREAM}tls: {{cert: [nowhere.crt, a.crt], key: [nowhere.key, b.key], client_ca: empty.pem}}")).faults();
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn every_fault_of_the_certificates_for_an_upstream_is_named() {
    for (upstream, said) in [
        ("{url: 'http://x:1', ca: ca.pem}", "`upstream.ca` is for TLS, and `upstream.url` is not; write it as `https://host`, or remove the key"),
        ("{url: 'h2c://x:1', cert: a.crt}", "`upstream.cert` is for TLS, and `upstream.url` is not"),
        ("{url: 'unix:/x', key: a.key}", "`upstream.key` is for TLS, and `upstream.url` is not"),
        ("{url: 'https://x', cert: a.crt}", "`upstream.cert` has no `upstream.key` beside it; name its private key"),
        ("{url: 'https://x', key: a.key}", "`upstream.key` has no `upstream.cert` beside it; name its certificate"),
        ("{url: 'https://x', ca: empty.pem}", "`upstream.ca` `empty.pem` holds no certificate"),
        ("{url: 'https://x', ca: nowhere.pem}", "`upstream.ca` `nowhere.pem` cannot be read"),
        (
            "{url: 'https://x', ca: ca.pem, cert: a.crt, key: b.key}",
            "`upstream.key` `b.key` is not the key of the first certificate of `upstream.cert` `a.crt`",
        ),
        ("{url: 'https://x', ca: ca.pem, cert: a.crt, key: ca.pem}", "`upstream.key` `ca.pem` holds no private key"),
    ] {
        let faults = case(&format!("upstream: {upstream}")).faults();
        assert!(faults.iter().any(|fault| fault.contains(said)), "{upstream}: {faults:?} do not say {said:?}");
    }
}

#[test]
fn good_certificates_are_taken_and_all_their_files_watched() {
    let config =
        "upstream: {url: 'https://x', ca: ca.pem, cert: b.crt, key: b.key}\ntls: {cert: [a.crt, b.crt], key: [a.key, b.key], client_ca: ca.pem}";
    let case = case(config);
    let loaded = case.load().unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let printed = format!("{loaded:?}");
    let (server, client) = (loaded.tls.server.unwrap(), loaded.tls.client.unwrap());
    for name in ["a.key", "b.key"] {
        // The secret number of a P-256 key (RFC 5915 §3) begins behind 36 bytes that all of them have.
        let key = PrivatePkcs8KeyDer::from_pem_file(case.path(name)).unwrap();
        let secret = &key.secret_pkcs8_der()[36..52];
        let decimal = format!("{secret:?}");
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [&printed, &format!("{server:?}"), &format!("{client:?}")] {
            assert!(!text.contains(decimal.trim_matches(['[', ']'])) && !text.contains(&hex), "{name} has a printable form");
        }
    }
    assert_eq!(server.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    assert_eq!(server.max_early_data_size, 0, "no request is taken twice");
    assert!(client.alpn_protocols.is_empty() && client.client_auth_cert_resolver.has_certs());
    for name in ["a.crt", "a.key", "b.crt", "b.key", "ca.pem"] {
        assert!(loaded.files.iter().any(|file| file.ends_with(name)), "{name}");
    }
    let plain = self::case(UPSTREAM).load().unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(plain.tls.server.is_none() && plain.tls.client.is_none());
}

#[test]
fn a_key_that_others_may_read_and_a_certificate_out_of_its_time_are_told() {
    for (more, strict) in [("", false), ("strict_file_modes: true\n", true)] {
        for mode in [0o640, 0o604] {
            let case = case(&format!("{UPSTREAM}{more}tls: {{cert: a.crt, key: a.key}}"));
            set_permissions(case.path("a.key"), Permissions::from_mode(mode)).unwrap();
            let said = "`tls.key` `a.key` is a private key that other users may read; `chmod 600` it";
            if strict {
                one(&case.faults(), said);
            } else {
                one(&case.load().unwrap_or_else(|faults| panic!("{faults:?}")).warnings, said);
            }
        }
    }
    for (index, said) in ["has expired at 2020-01-01T00:00:00Z, and nobody will believe it; renew it", "is not valid before 4000-01-01T00:00:00Z"]
        .into_iter()
        .enumerate()
    {
        let case = case(&format!("{UPSTREAM}tls: {{cert: a.crt, key: a.key}}"));
        let change = |params: &mut rcgen::CertificateParams| match index {
            0 => params.not_after = date_time_ymd(2020, 1, 1),
            _ => params.not_before = date_time_ymd(4000, 1, 1),
        };
        Authority::new("ours").issue_with(&["a.test"], change).write(case.0.path(), "a");
        one(&case.load().unwrap_or_else(|faults| panic!("{faults:?}")).warnings, &format!("`tls.cert` `a.crt` {said}"));
    }
}
