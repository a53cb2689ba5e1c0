//! What is to be redirected into rules for nftables or for iptables, IPv4 and IPv6 alike.
//! Touches no table and no chain but its own, no connection that is open already, and nothing that stays within the machine.

use std::collections::BTreeSet;
use std::fmt::Write as _;

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

/// Only the packet that opens a connection: one that was open before the rules would break if its next packet were redirected.
const NFT_OPENING: &str = "tcp flags & (fin | syn | rst | ack) == syn";

impl Rules {
    pub fn nft(&self) -> String {
        let mut text = format!(
            "# Connections to port {}, where the gate is. Apply with `nft -f -`, as often as you like; take back with `nft delete table inet scopegate`.\n\
             table inet scopegate\n\
             delete table inet scopegate\n\
             table inet scopegate {{\n",
            self.port
        );
        // A neighbour's packet to 127.0.0.1 would be dropped if it were not redirected; what is not for this machine is not this gate's.
        let stays = ["iifname \"lo\" return", "ip daddr 127.0.0.0/8 return", "fib daddr type != local return"];
        text += &self.nft_chain("prerouting", "prerouting priority dstnat", &stays.map(str::to_owned), &self.inbound);
        if let Some(outbound) = &self.outbound {
            let Exempt { uid, mark } = self.exempt;
            let uid = uid.map(|uid| format!("meta skuid {uid} return"));
            let mark = mark.map(|mark| format!("meta mark {mark:#x} return"));
            let stays: Vec<String> = ["oifname \"lo\" return".to_owned()].into_iter().chain(uid).chain(mark).collect();
            text += "\n";
            text += &self.nft_chain("output", "output priority -100", &stays, outbound);
        }
        text + "}\n"
    }

    fn nft_chain(&self, name: &str, hook: &str, stays: &[String], ports: &Ports) -> String {
        let mut text = format!("\tchain {name} {{\n\t\ttype nat hook {hook}; policy accept;\n");
        for rule in stays {
            let _ = writeln!(text, "\t\t{rule}");
        }
        let _ = match ports {
            Ports::All => {
                writeln!(text, "\t\ttcp dport {} return\n\t\t{NFT_OPENING} redirect to :{}", braced(&self.except), self.port)
            }
            Ports::These(ports) => writeln!(text, "\t\ttcp dport {} {NFT_OPENING} redirect to :{}", braced(ports), self.port),
        };
        text + "\t}\n"
    }

    /// `-4` makes `ip6tables-restore` pass over a line.
    pub fn iptables(&self) -> String {
        let mut text = format!(
            "# Connections to port {}, where the gate is. Apply with `iptables-restore -n` and with `ip6tables-restore -n`.\n\
             # Applied again, both chains are written anew; the second jump to one decides what the first decided.\n\
             *nat\n\
             :SCOPEGATE_IN - [0:0]\n\
             :SCOPEGATE_OUT - [0:0]\n",
            self.port
        );
        let stays = ["-i lo", "-4 -d 127.0.0.0/8", "-m addrtype ! --dst-type LOCAL"];
        self.iptables_chain("SCOPEGATE_IN", &stays.map(str::to_owned), &self.inbound, &mut text);
        text += "-A PREROUTING -p tcp --syn -j SCOPEGATE_IN\n";
        if let Some(outbound) = &self.outbound {
            let Exempt { uid, mark } = self.exempt;
            let uid = uid.map(|uid| format!("-m owner --uid-owner {uid}"));
            let mark = mark.map(|mark| format!("-m mark --mark {mark:#x}"));
            let stays: Vec<String> = ["-o lo".to_owned()].into_iter().chain(uid).chain(mark).collect();
            self.iptables_chain("SCOPEGATE_OUT", &stays, outbound, &mut text);
            text += "-A OUTPUT -p tcp --syn -j SCOPEGATE_OUT\n";
        }
        text + "COMMIT\n"
    }

    fn iptables_chain(&self, chain: &str, stays: &[String], ports: &Ports, text: &mut String) {
        for stays in stays {
            let _ = writeln!(text, "-A {chain} {stays} -j RETURN");
        }
        let redirect = format!("-j REDIRECT --to-ports {}", self.port);
        match ports {
            Ports::All => {
                for port in &self.except {
                    let _ = writeln!(text, "-A {chain} -p tcp --dport {port} -j RETURN");
                }
                let _ = writeln!(text, "-A {chain} -p tcp {redirect}");
            }
            Ports::These(ports) => {
                for port in ports {
                    let _ = writeln!(text, "-A {chain} -p tcp --dport {port} {redirect}");
                }
            }
        }
    }
}

fn braced(ports: &BTreeSet<u16>) -> String {
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{{ {} }}", list.join(", "))
}
