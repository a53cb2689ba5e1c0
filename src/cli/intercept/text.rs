//! Rules into the text that `nft` or `iptables-restore` reads.
//! Touches no table and no chain but its own.

use std::fmt::{self, Display, Formatter, Write as _};

use super::rules::{Exempt, PRIORITY, Ports, Rule, Rules, Then, When};

impl Rules {
    pub fn nft(&self) -> String {
        let mut text = format!(
            "# Connections to port {}, where the gate is. Apply with `nft -f -`, as often as you like; take back with `nft delete table inet scopegate`.\n\
             table inet scopegate\n\
             delete table inet scopegate\n\
             table inet scopegate {{\n",
            self.port
        );
        let chains = self.chains().into_iter().map(|chain| {
            let hook = format!("{} priority {}", chain.hook.name(), PRIORITY);
            let rules: String = chain.rules.iter().map(|rule| format!("\t\t{rule}\n")).collect();
            format!("\tchain {} {{\n\t\ttype nat hook {hook}; policy accept;\n{rules}\t}}\n", chain.hook.name())
        });
        text += &chains.collect::<Vec<_>>().join("\n");
        text + "}\n"
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

impl Display for Rule<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for when in &self.when {
            write!(out, "{when} ")?;
        }
        match self.then {
            Then::Return => write!(out, "return"),
            Then::Redirect(port) => write!(out, "redirect to :{port}"),
        }
    }
}

impl Display for When<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            When::FromLoopback => write!(out, "iifname \"lo\""),
            When::ToLoopback => write!(out, "oifname \"lo\""),
            When::LoopbackAddress => write!(out, "ip daddr 127.0.0.0/8"),
            When::OtherMachine => write!(out, "fib daddr type != local"),
            When::User(uid) => write!(out, "meta skuid {uid}"),
            When::Mark(mark) => write!(out, "meta mark {mark:#x}"),
            When::Ports(ports) => {
                let list: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(out, "tcp dport {{ {} }}", list.join(", "))
            }
            When::Opening => write!(out, "tcp flags & (fin | syn | rst | ack) == syn"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(ports: &[u16]) -> Ports {
        Ports::These(ports.iter().copied().collect())
    }

    fn rules(inbound: Ports, outbound: Option<Ports>, exempt: Exempt) -> Rules {
        Rules { port: 8080, inbound, outbound, except: [8080, 9190].into(), exempt }
    }

    const NOBODY: Exempt = Exempt { uid: None, mark: None };
    const BOTH: Exempt = Exempt { uid: Some(65532), mark: Some(0x5C0) };

    /// Less the comment.
    fn lines(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::trim).collect()
    }

    #[test]
    fn incoming_connections_to_some_ports() {
        let rules = rules(these(&[3000, 80]), None, NOBODY);
        let nft = [
            "table inet scopegate",
            "delete table inet scopegate",
            "table inet scopegate {",
            "chain prerouting {",
            "type nat hook prerouting priority -110; policy accept;",
            "iifname \"lo\" return",
            "ip daddr 127.0.0.0/8 return",
            "fib daddr type != local return",
            "tcp dport { 80, 3000 } tcp flags & (fin | syn | rst | ack) == syn redirect to :8080",
            "}",
            "}",
        ];
        assert_eq!(lines(&rules.nft()), nft);
        let iptables = [
            "*nat",
            ":SCOPEGATE_IN - [0:0]",
            ":SCOPEGATE_OUT - [0:0]",
            "-A SCOPEGATE_IN -i lo -j RETURN",
            "-A SCOPEGATE_IN -4 -d 127.0.0.0/8 -j RETURN",
            "-A SCOPEGATE_IN -m addrtype ! --dst-type LOCAL -j RETURN",
            "-A SCOPEGATE_IN -p tcp --dport 80 -j REDIRECT --to-ports 8080",
            "-A SCOPEGATE_IN -p tcp --dport 3000 -j REDIRECT --to-ports 8080",
            "-A PREROUTING -p tcp --syn -j SCOPEGATE_IN",
            "COMMIT",
        ];
        assert_eq!(lines(&rules.iptables()), iptables);
    }

    #[test]
    fn all_ports_are_all_but_the_excepted() {
        let rules = rules(Ports::All, None, NOBODY);
        let nft = rules.nft();
        let at = |rule: &str| nft.find(rule).unwrap_or_else(|| panic!("no `{rule}` in {nft}"));
        assert!(at("tcp dport { 8080, 9190 } return") < at("tcp flags & (fin | syn | rst | ack) == syn redirect to :8080"));
        let iptables = rules.iptables();
        let last = ["-A SCOPEGATE_IN -p tcp --dport 8080 -j RETURN", "-A SCOPEGATE_IN -p tcp --dport 9190 -j RETURN"];
        assert!(iptables.contains(&format!("{}\n-A SCOPEGATE_IN -p tcp -j REDIRECT --to-ports 8080\n", last.join("\n"))), "{iptables}");
    }

    #[test]
    fn outgoing_connections_but_those_that_are_exempt() {
        let rules = rules(these(&[80]), Some(these(&[443])), BOTH);
        let nft = rules.nft();
        let output = nft.split_once("chain output {").unwrap().1;
        let expected = [
            "",
            "type nat hook output priority -110; policy accept;",
            "oifname \"lo\" return",
            "meta skuid 65532 return",
            "meta mark 0x5c0 return",
            "tcp dport { 443 } tcp flags & (fin | syn | rst | ack) == syn redirect to :8080",
            "}",
            "}",
        ];
        assert_eq!(lines(output), expected);
        let iptables = rules.iptables();
        let expected = [
            "-A SCOPEGATE_OUT -o lo -j RETURN",
            "-A SCOPEGATE_OUT -m owner --uid-owner 65532 -j RETURN",
            "-A SCOPEGATE_OUT -m mark --mark 0x5c0 -j RETURN",
            "-A SCOPEGATE_OUT -p tcp --dport 443 -j REDIRECT --to-ports 8080",
            "-A OUTPUT -p tcp --syn -j SCOPEGATE_OUT",
            "COMMIT",
        ];
        assert!(iptables.ends_with(&(expected.join("\n") + "\n")), "{iptables}");
    }

    #[test]
    fn what_is_no_longer_asked_for_is_gone() {
        let text = rules(these(&[80]), None, NOBODY).iptables();
        assert!(text.contains("\n:SCOPEGATE_OUT - [0:0]\n") && !text.contains("-j SCOPEGATE_OUT"), "an empty chain, and no jump to it: {text}");
    }
}
