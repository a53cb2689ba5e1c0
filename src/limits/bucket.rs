//! What a limit counts, into the name that it is counted under: a keyed hash in this process, a digest in Redis.
//! Holds no value: who reads a name learns neither principal nor address, but for what it can guess.

use std::hash::Hasher;
use std::net::IpAddr;

use aws_lc_rs::digest::{Context, SHA256};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::policy::rule::Per;

/// Who shares a limit, for one route or for all.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// The route's name; empty where the limit is not of a route.
    pub route: &'a str,
    pub who: Who<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// By realm, tenant and id.
    Principal([&'a str; 3]),
    Tenant(&'a str),
    /// `None` is everybody whose address is not known, together.
    Ip(Option<IpAddr>),
    Route,
    /// A managed key with a rate of its own.
    Key(&'a str),
    /// What a caller of another room counts: a name of its own, and of whom.
    Other(&'static str, [&'a str; 3]),
}

/// 128 bits, which nobody can aim at who does not have the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub [u64; 2]);

impl Bucket<'_> {
    pub fn tag(&self, key: &[u8; 16]) -> Tag {
        let mut hasher = SipHasher24::new_with_key(key);
        self.feed(&mut |bytes| hasher.write(bytes));
        let hash = hasher.finish128();
        Tag([hash.h1, hash.h2])
    }

    /// The same in every replica.
    pub fn name(&self) -> String {
        let mut context = Context::new(&SHA256);
        self.feed(&mut |bytes| context.update(bytes));
        let digest = context.finish();
        let half = digest.as_ref().iter().take(16);
        half.fold(String::from("scopegate:limit:"), |name, byte| format!("{name}{byte:02x}"))
    }

    /// Each part with its length before it, so that no two buckets are the same bytes.
    fn feed(&self, out: &mut impl FnMut(&[u8])) {
        let mut part = |bytes: &[u8]| {
            out(&(bytes.len() as u64).to_le_bytes());
            out(bytes);
        };
        part(self.route.as_bytes());
        part(self.who.kind().as_bytes());
        match self.who {
            Who::Principal(parts) | Who::Other(_, parts) => parts.iter().for_each(|text| part(text.as_bytes())),
            Who::Tenant(text) | Who::Key(text) => part(text.as_bytes()),
            Who::Ip(None) | Who::Route => {}
            Who::Ip(Some(address)) => match network(address) {
                IpAddr::V4(address) => part(&address.octets()),
                IpAddr::V6(address) => part(&address.octets()),
            },
        }
    }
}

impl Who<'_> {
    /// The name of the policy in `RateLimit`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Principal(_) => Per::Principal.as_str(),
            Self::Tenant(_) => Per::Tenant.as_str(),
            Self::Ip(_) => Per::Ip.as_str(),
            Self::Route => Per::Route.as_str(),
            Self::Key(_) => "key",
            Self::Other(kind, _) => kind,
        }
    }
}

/// What counts as one client: an IPv4 address, or the 64 bits of an IPv6 network, of which each host has as many addresses as it likes.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Who<'static> {
        Who::Ip(Some(text.parse().unwrap()))
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let buckets = [
            Bucket { route: "GET /a", who: Who::Route },
            Bucket { route: "GET /b", who: Who::Route },
            Bucket { route: "GET /a", who: Who::Ip(None) },
            Bucket { route: "GET /a", who: ip("10.0.0.1") },
            Bucket { route: "GET /a", who: ip("10.0.0.2") },
            Bucket { route: "GET /a", who: ip("::1") },
            Bucket { route: "GET /a", who: Who::Tenant("ab") },
            Bucket { route: "GET /a", who: Who::Principal(["tokens", "a", "bc"]) },
            Bucket { route: "GET /a", who: Who::Principal(["tokens", "ab", "c"]) },
            Bucket { route: "GET /a", who: Who::Principal(["other", "ab", "c"]) },
            Bucket { route: "", who: Who::Key("ab") },
            Bucket { route: "", who: Who::Other("mfa", ["a", "", "b"]) },
            Bucket { route: "", who: Who::Other("mfa", ["a", "b", ""]) },
        ];
        for (index, one) in buckets.iter().enumerate() {
            for (other, two) in buckets.iter().enumerate() {
                assert_eq!(one.tag(&[1; 16]) == two.tag(&[1; 16]), index == other, "{one:?} {two:?}");
                assert_eq!(one.name() == two.name(), index == other, "{one:?} {two:?}");
            }
            assert_ne!(one.tag(&[1; 16]), one.tag(&[2; 16]));
        }
    }

    #[test]
    fn a_name_is_of_fixed_length_and_says_nothing() {
        let name = Bucket { route: "GET /a", who: Who::Key("agent") }.name();
        assert_eq!(name.len(), "scopegate:limit:".len() + 32);
        assert!(!name.contains("agent"));
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_an_ipv4_one_its_address_however_written() {
        let same = |one: &str, two: &str| network(one.parse().unwrap()) == network(two.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
