//! What is to be redirected into chains of rules, IPv4 and IPv6 alike.
//! Touches no connection that is open already, and nothing that stays within the machine.

use std::collections::BTreeSet;

/// A little before destination NAT's own (-100), so that nobody's redirection at that one goes first.
pub const PRIORITY: i32 = -110;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    All,
    These(BTreeSet<u16>),
}

/// Whose outgoing connections stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct Exempt {
    pub uid: Option<u32>,
    pub mark: Option<u32>,
}

#[derive(Debug)]
pub struct Rules {
    /// The gate's.
    pub port: u16,
    pub inbound: Ports,
    pub outbound: Option<Ports>,
    pub except: BTreeSet<u16>,
    pub exempt: Exempt,
}

impl Ports {
    /// A port that is named here and there; `All` names none.
    pub fn common(&self, others: &BTreeSet<u16>) -> Option<u16> {
        match self {
            Self::All => None,
            Self::These(ports) => ports.intersection(others).next().copied(),
        }
    }
}

impl Exempt {
    pub fn is_nobody(self) -> bool {
        self.uid.is_none() && self.mark.is_none()
    }
}

/// Chains of nftables, for its text and for the kernel alike.
#[derive(Debug)]
pub struct Chain<'a> {
    pub hook: Hook,
    pub rules: Vec<Rule<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Hook {
    Prerouting,
    Output,
}

#[derive(Debug)]
pub struct Rule<'a> {
    /// All of it together.
    pub when: Vec<When<'a>>,
    pub then: Then,
}

#[derive(Debug)]
pub enum When<'a> {
    FromLoopback,
    ToLoopback,
    LoopbackAddress,
    OtherMachine,
    User(u32),
    Mark(u32),
    Ports(&'a BTreeSet<u16>),
    /// Only the packet that opens a connection: one that was open before the rules would break if its next packet were redirected.
    Opening,
}

#[derive(Clone, Copy, Debug)]
pub enum Then {
    Return,
    Redirect(u16),
}

impl Rules {
    pub fn chains(&self) -> Vec<Chain<'_>> {
        // A neighbour's packet to 127.0.0.1 would be dropped if it were not redirected; what is not for this machine is not this gate's.
        let stays = [When::FromLoopback, When::LoopbackAddress, When::OtherMachine];
        let incoming = self.chain(Hook::Prerouting, stays, &self.inbound);
        let outgoing = self.outbound.as_ref().map(|ports| {
            let Exempt { uid, mark } = self.exempt;
            let stays = [Some(When::ToLoopback), uid.map(When::User), mark.map(When::Mark)];
            self.chain(Hook::Output, stays.into_iter().flatten(), ports)
        });
        [incoming].into_iter().chain(outgoing).collect()
    }

    fn chain<'a>(&'a self, hook: Hook, stays: impl IntoIterator<Item = When<'a>>, ports: &'a Ports) -> Chain<'a> {
        let stay = |when| Rule { when: vec![when], then: Then::Return };
        let redirect = |when| Rule { when, then: Then::Redirect(self.port) };
        let mut rules: Vec<Rule<'a>> = stays.into_iter().map(stay).collect();
        match ports {
            Ports::All => rules.extend([stay(When::Ports(&self.except)), redirect(vec![When::Opening])]),
            Ports::These(ports) => rules.push(redirect(vec![When::Ports(ports), When::Opening])),
        }
        Chain { hook, rules }
    }
}

impl Hook {
    /// The name of the hook, and of the chain there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Output => "output",
        }
    }
}
