//! Who a client is by the certificate that it shows, and for how long.

use rcgen::{DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::HandshakeKind;
use serde_json::json;

use super::*;
use crate::harness::sign::{hs256, now};

const SECRET: &str = "hmac-of-bound-tokens-0a1b2c3d4e5f6a7b";
const CONFIG: &str = "
credentials:
  peers:
    kind: mtls
    identities:
      - {spiffe: 'spiffe://cluster.local/ns/a/sa/orders', id: orders, scopes: [app:use]}
      - {dns: client.test, id: by-name, scopes: [app:use]}
      - {subject: 'CN=Somebody\\, Jr.,O=Example', id: by-subject, scopes: [app:use]}
      - {dns: poor.test, id: poor, scopes: [other:use]}
routes: {/open: public, /app: app:use}
";

fn with_clients(more: &str) -> String {
    format!("tls: {{cert: gate.crt, key: gate.key, client_ca: clients.pem{more}}}\n{CONFIG}")
}

/// The server's certificate is of `ours`, the clients' of `theirs`.
async fn gate(ours: &Authority, theirs: &Authority, config: &str) -> Gate {
    start(Upstream::start().await, config, |folder| {
        ours.issue(&[HOST]).write(folder, "gate");
        std::fs::write(folder.join("clients.pem"), theirs.pem()).unwrap();
    })
    .await
}

fn reason(reply: &Reply) -> (u16, Option<String>) {
    (reply.status, reply.header("x-scopegate-reason"))
}

fn denied(status: u16, reason: &str) -> (u16, Option<String>) {
    (status, Some(reason.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_who_its_certificate_names() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let gate = gate(&ours, &theirs, &with_clients("")).await;
    let by_subject = theirs.issue_with(&["x.test"], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "Somebody, Jr.");
    });
    for (issued, id) in [
        (theirs.issue(&["spiffe://cluster.local/ns/a/sa/orders"]), "orders"),
        (theirs.issue(&["x.test", "CLIENT.test"]), "by-name"),
        (by_subject, "by-subject"),
    ] {
        for protocols in [&["http/1.1"][..], &["h2"]] {
            let stream = dial(gate.proxy(), &ours.believer(Some(&issued), protocols), HOST, b"").await.unwrap();
            if protocols == ["h2"] {
                assert_eq!(h2_get(stream, "/app").await, 200);
            } else {
                let mut wire = Wire::new(stream);
                // Of what a client says of certificates and of itself, nothing goes on.
                let claims = "x-forwarded-client-cert: Hash=1\r\nX_Forwarded_Client_Cert: Hash=1\r\nX.Forwarded.Client.Cert: Hash=1\r\n\
                    Client-Cert: :AA==:\r\nclient_cert_chain: x\r\nClient.Cert: x\r\nclient-cert!chain: x\r\nx-scopegate-id: root\r\n";
                assert_eq!(get(&mut wire, "/app", claims).await.status, 200);
            }
            let seen = gate.upstream.take();
            assert_eq!(value(&seen[0].headers, "x-scopegate-id").as_deref(), Some(id));
            assert_eq!(value(&seen[0].headers, "x-scopegate-credential").as_deref(), Some("peers"));
            let told: Vec<_> = seen[0].headers.iter().filter(|(name, _)| name.contains("cert")).collect();
            assert!(told.is_empty(), "{told:?}");
        }
    }
    // Known without the scope, and known to nobody.
    let mut poor = wire(gate.proxy(), &ours.believer(Some(&theirs.issue(&["poor.test"])), &[]), HOST).await;
    assert_eq!(reason(&get(&mut poor, "/app", "").await), denied(403, "insufficient_scope"));
    let mut nobody = wire(gate.proxy(), &ours.believer(Some(&theirs.issue(&["nobody.test"])), &[]), HOST).await;
    assert_eq!(reason(&get(&mut nobody, "/app", "").await), denied(401, "invalid_credential"));
    assert_eq!(get(&mut nobody, "/open", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_no_connection_and_none_at_all_is_nobody() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let name = &["client.test"];
    let bad = [
        ("of another authority", Authority::new("theirs").issue(name)),
        ("of the server's authority", ours.issue(name)),
        ("expired", theirs.issue_with(name, |params| params.not_after = date_time_ymd(2020, 1, 1))),
        ("not yet valid", theirs.issue_with(name, |params| params.not_before = date_time_ymd(4000, 1, 1))),
        ("for servers alone", theirs.issue_with(name, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
    ];
    let optional = gate(&ours, &theirs, &with_clients("")).await;
    let required = gate(&ours, &theirs, &with_clients(", require_client: true")).await;
    let mut count = 0.0;
    for (what, issued) in &bad {
        count += 1.0;
        for gate in [&optional, &required] {
            is_refused(gate, &ours.believer(Some(issued), &[]), what).await;
            refused(gate, "tls_handshake", count).await;
        }
    }
    let none = ours.believer(None, &[]);
    let mut wire = wire(optional.proxy(), &none, HOST).await;
    assert_eq!(get(&mut wire, "/open", "").await.status, 200);
    assert_eq!(reason(&get(&mut wire, "/app", "").await), denied(401, "no_credential"));
    is_refused(&required, &none, "none").await;
    let good = ours.believer(Some(&theirs.issue(name)), &[]);
    assert_eq!(get(&mut super::wire(required.proxy(), &good, HOST).await, "/app", "").await.status, 200);
    // Without `client_ca` nobody is asked, and nobody is known by it.
    let unasked = gate(&ours, &theirs, &format!("tls: {{cert: gate.crt, key: gate.key}}\n{CONFIG}")).await;
    assert_eq!(reason(&get(&mut super::wire(unasked.proxy(), &good, HOST).await, "/app", "").await), denied(401, "no_credential"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken_and_ask_for_the_same_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let gate = gate(&ours, &theirs, &with_clients("")).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let good = ours.believer_of(&[version], Some(&theirs.issue(&["client.test"])), &[]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = dial(gate.proxy(), &good, HOST, b"").await.unwrap();
            assert_eq!((stream.get_ref().1.protocol_version(), stream.get_ref().1.handshake_kind()), (Some(version.version), Some(kind)));
            assert_eq!(get(&mut Wire::new(stream), "/app", "").await.status, 200);
        }
        let bad = ours.believer_of(&[version], Some(&ours.issue(&["client.test"])), &[]);
        is_refused(&gate, &bad, "of another authority").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_counts_with_its_certificate_alone() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let source = format!("credentials: {{bound: {{kind: jwt, secret: {SECRET}, algorithms: HS256, issuer: it}}}}\n{ROUTES}");
    let tls = "tls: {cert: gate.crt, key: gate.key, client_ca: clients.pem}\n";
    let gate = gate(&ours, &theirs, &format!("{tls}{source}")).await;
    let (own, other) = (theirs.issue(&["nobody.test"]), theirs.issue(&["nobody.test"]));
    let claims = json!({"iss": "it", "sub": "holder", "scope": "app:use", "exp": now() + 900, "cnf": {"x5t#S256": own.thumbprint()}});
    let token = format!("authorization: Bearer {}\r\n", hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims));
    for _ in 0..2 {
        for (issued, status) in [(Some(&own), 200), (Some(&other), 401), (None, 401)] {
            let mut wire = wire(gate.proxy(), &ours.believer(issued, &[]), HOST).await;
            assert_eq!(get(&mut wire, "/app", &token).await.status, status, "remembered or not");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_a_reload_takes_away_vouches_no_longer_not_even_for_who_was_here_before() {
    let (ours, theirs, next) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("next"));
    let gate = gate(&ours, &theirs, &with_clients("")).await;
    let client = ours.believer(Some(&theirs.issue(&["client.test"])), &[]);
    let mut early = wire(gate.proxy(), &client, HOST).await;
    assert_eq!(get(&mut early, "/app", "").await.status, 200);
    // The session is taken up again with the certificate that it began with.
    let resumed = dial(gate.proxy(), &client, HOST, b"").await.unwrap();
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    let mut resumed = Wire::new(resumed);
    assert_eq!(get(&mut resumed, "/app", "").await.status, 200);
    // One more is no harm to anybody.
    std::fs::write(gate.folder.path().join("clients.pem"), theirs.pem() + &next.pem()).unwrap();
    assert_eq!(gate.reload().await.status, 200);
    for wire in [&mut early, &mut resumed] {
        assert_eq!(get(wire, "/app", "").await.status, 200);
    }
    std::fs::write(gate.folder.path().join("clients.pem"), next.pem()).unwrap();
    assert_eq!(gate.reload().await.status, 200);
    for wire in [&mut early, &mut resumed] {
        assert_eq!(reason(&get(wire, "/app", "").await), denied(401, "no_credential"));
        assert_eq!(get(wire, "/open", "").await.status, 200, "the connection itself goes on");
    }
    is_refused(&gate, &client, "a session of before").await;
    let mut new = wire(gate.proxy(), &ours.believer(Some(&next.issue(&["client.test"])), &[]), HOST).await;
    assert_eq!(get(&mut new, "/app", "").await.status, 200);
    // And back: what was judged is judged anew.
    std::fs::write(gate.folder.path().join("clients.pem"), theirs.pem()).unwrap();
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(get(&mut early, "/app", "").await.status, 200);
    assert_eq!(get(&mut new, "/app", "").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_while_its_connection_is_open_is_a_credential_no_longer() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let gate = gate(&ours, &theirs, &with_clients("")).await;
    // On a machine that is busy for all of its time it would be over before it was shown.
    let mut seconds = 2;
    let (client, mut wire) = loop {
        let end = date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(u64::try_from(now()).unwrap() + seconds);
        let client = ours.believer(Some(&theirs.issue_with(&["client.test"], |params| params.not_after = end)), &[]);
        if let Ok(stream) = dial(gate.proxy(), &client, HOST, b"").await {
            let mut wire = Wire::new(stream);
            wire.send("GET /app HTTP/1.1\r\nhost: a\r\n\r\n").await;
            if wire.response_head().await.starts_with("HTTP/1.1 200 ") {
                wire.bytes(2).await;
                break (client, wire);
            }
        }
        seconds *= 2;
        assert!(seconds < 100, "never in time");
    };
    until("its end", async || (get(&mut wire, "/app", "").await.status == 401).then_some(())).await;
    assert_eq!(reason(&get(&mut wire, "/app", "").await), denied(401, "invalid_credential"));
    assert!(gate.audit().await.contains(r#""cause":"expired""#));
    assert_eq!(get(&mut wire, "/open", "").await.status, 200);
    // The session would still be there to be taken up again.
    is_refused(&gate, &client, "its session").await;
}
