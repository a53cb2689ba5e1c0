//! `scopegate intercept`: options into the rules that redirect a pod's connections to the gate, applied or printed by an init container.
//! Runs before the gate and beside it: the gate itself has no privilege to change rules.

mod apply;
mod expressions;
mod netlink;
mod rules;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::wrong;
use crate::config::{Address, Input, Settings, load};
use crate::live::reload::environment;
use rules::{Exempt, Ports, Rules};

#[derive(Debug, Args)]
pub struct Intercept {
    /// Put the rules into the network namespace of this process, in place of those of an earlier time; takes NET_ADMIN, and no `nft`
    #[arg(long, conflicts_with_all = ["print", "format"])]
    apply: bool,
    /// Write the rules to standard output, for `nft -f -`, or for `iptables-restore -n` and `ip6tables-restore -n`
    #[arg(long)]
    print: bool,
    /// The gate's configuration: its ports, and the mark of `upstream.mark`
    #[arg(long, value_name = "FILE", env = "SCOPEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The gate's proxy port; else that of the configuration, else 8080
    #[arg(long, value_name = "PORT", value_parser = port)]
    port: Option<u16>,
    /// The ports whose incoming connections are redirected, `80,3000` or `all`
    #[arg(long, value_name = "PORTS", default_value = "all", value_parser = ports)]
    ports: Ports,
    /// Ports that stay as they are, beside those of the gate's own doors
    #[arg(long, value_name = "PORTS", value_delimiter = ',', value_parser = port)]
    except: Vec<u16>,
    /// Also redirect the pod's own outgoing connections, to the same ports or to these
    #[arg(long, value_name = "PORTS", num_args = 0..=1, value_parser = ports)]
    outbound: Option<Option<Ports>>,
    /// The user that the gate alone runs as, whose outgoing connections stay as they are
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// The mark of connections that stay as they are, such as `0x5C0`; else that of the configuration
    #[arg(long, value_name = "MARK", value_parser = mark)]
    mark: Option<u32>,
    /// What the rules are written for
    #[arg(long, value_name = "FORMAT", default_value = "nft")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For `nft -f -`
    Nft,
    /// For `iptables-restore -n` and, the same text, for `ip6tables-restore -n`
    Iptables,
}

impl Intercept {
    pub fn run(self) -> Result<bool, String> {
        let Self { apply, print, format, .. } = self;
        if !apply && !print {
            wrong(
                "--apply puts the rules into this network namespace, --print writes them: `scopegate intercept --print | nft -f -`; add one of the two",
            );
        }
        let settings = self.config.clone().map(configured).transpose()?;
        let rules = self.rules(settings.as_ref())?;
        if apply {
            rules.apply()?;
            println!("connections are redirected to port {} by the table `inet scopegate`", rules.port);
            return Ok(true);
        }
        print!(
            "{}",
            match format {
                Format::Nft => rules.nft(),
                Format::Iptables => rules.iptables(),
            }
        );
        Ok(true)
    }

    fn rules(self, settings: Option<&Settings>) -> Result<Rules, String> {
        let port = match (self.port, settings) {
            (Some(port), _) => port,
            (None, Some(settings)) => proxy_port(settings)?,
            (None, None) => 8080,
        };
        let own: BTreeSet<u16> = settings.into_iter().flat_map(doors).chain([port]).collect();
        let except: BTreeSet<u16> = own.iter().copied().chain(self.except).collect();
        let mark = self.mark.or_else(|| settings.and_then(|settings| settings.upstream.as_ref()?.mark));
        let exempt = Exempt { uid: self.uid, mark };
        let outbound = self.outbound.map(|ports| ports.unwrap_or_else(|| self.ports.clone()));
        if outbound.is_some() && exempt.is_nobody() {
            wrong("--outbound needs --uid or --mark: without them the gate's own connections would come back to it");
        }
        for (option, ports) in [("--ports", Some(&self.ports)), ("--outbound", outbound.as_ref())] {
            if let Some(port) = ports.and_then(|ports| ports.common(&except)) {
                let whose = if own.contains(&port) { "a door of the gate itself" } else { "excepted by --except" };
                wrong(&format!("{option} has {port}, which is {whose}; name it in one place"));
            }
        }
        Ok(Rules { port, inbound: self.ports, outbound, except, exempt })
    }
}

/// Settings alone, so that whoever writes rules need not be shown tokens.
fn configured(path: PathBuf) -> Result<Settings, String> {
    load::settings(&Input::File(path), &environment).map_err(|faults| faults.to_string())
}

fn proxy_port(settings: &Settings) -> Result<u16, String> {
    match &settings.listen.proxy {
        Some(Address::Tcp(address)) if address.ip().is_loopback() => Err(format!(
            "`listen.proxy` is {address}, where redirected connections do not arrive; listen on 0.0.0.0:{port}, or on [::]:{port} for IPv6 too",
            port = address.port()
        )),
        Some(Address::Tcp(address)) => Ok(address.port()),
        Some(Address::Unix(path)) => {
            Err(format!("`listen.proxy` is unix:{}, to which nothing can be redirected; listen on 0.0.0.0:8080", path.display()))
        }
        None => Err("the configuration has no proxy door; set `upstream: original_destination`".into()),
    }
}

/// The ports of every door of the gate.
fn doors(settings: &Settings) -> Vec<u16> {
    let listen = &settings.listen;
    let doors = [&listen.proxy, &listen.ext_authz, &listen.forward_auth, &listen.admin].into_iter().flatten();
    let port = |address: &Address| match address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    };
    doors.chain(settings.egress.iter().map(|egress| &egress.listen)).filter_map(port).collect()
}

fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().ok().filter(|port| *port != 0).ok_or_else(|| "a port is a number from 1 to 65535; several are `80,3000`".into())
}

fn ports(text: &str) -> Result<Ports, String> {
    if text == "all" {
        return Ok(Ports::All);
    }
    let ports = text.split(',').map(port).collect::<Result<_, _>>().map_err(|_| "ports are `all`, or numbers from 1 to 65535 such as `80,3000`")?;
    Ok(Ports::These(ports))
}

fn mark(text: &str) -> Result<u32, String> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let mark = hexadecimal.map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok());
    mark.filter(|mark| *mark != 0).ok_or_else(|| "a mark is a number from 1 to 0xFFFFFFFF such as `0x5C0`".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        intercept: Intercept,
    }

    /// The rules of a configuration and a command line.
    fn rules(config: &str, line: &str) -> Result<Rules, String> {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).map_err(|error| error.to_string())?;
        if config.is_empty() {
            return line.intercept.rules(None);
        }
        let settings = load::settings(&Input::Text { name: "test", text: config.to_owned() }, &|_| None);
        line.intercept.rules(Some(&settings.map_err(|faults| faults.to_string())?))
    }

    #[test]
    fn without_a_configuration_all_ports_go_to_8080() {
        let rules = rules("", "--except 22,2222").unwrap();
        assert_eq!((rules.port, rules.inbound, rules.outbound), (8080, Ports::All, None));
        assert_eq!(rules.except, [22, 2222, 8080].into());
    }

    #[test]
    fn the_configuration_has_the_ports_of_the_doors_and_the_mark() {
        let config = "upstream: {url: original_destination, mark: 0x5C0}\nlisten: {proxy: 0.0.0.0:15006, ext_authz: off, forward_auth: unix:/a, admin: 127.0.0.1:9999}";
        let rules = rules(config, "--outbound").unwrap();
        assert_eq!((rules.port, rules.exempt.uid, rules.exempt.mark), (15006, None, Some(0x5C0)));
        assert_eq!((rules.except, rules.outbound), ([9999, 15006].into(), Some(Ports::All)));
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let config = "upstream: {url: original_destination, mark: 7}\nlisten: {proxy: 0.0.0.0:15006}";
        let rules = rules(config, "--port 81 --mark 0x10 --uid 0 --outbound 80,90 --ports 1").unwrap();
        assert_eq!((rules.port, rules.exempt.uid, rules.exempt.mark), (81, Some(0), Some(16)));
        assert_eq!(rules.outbound, Some(Ports::These([80, 90].into())));
        assert!(rules.except.contains(&15006), "a door of the gate stays one");
    }

    #[test]
    fn a_door_where_nothing_arrives_is_told() {
        for (config, said) in [
            ("upstream: original_destination", "listen on 0.0.0.0:8080, or on [::]:8080"),
            ("upstream: original_destination\nlisten: {proxy: '[::1]:81'}", "listen on 0.0.0.0:81"),
            ("upstream: original_destination\nlisten: {proxy: unix:/run/x}", "listen on 0.0.0.0:8080"),
            ("routes: {/: deny}", "set `upstream: original_destination`"),
        ] {
            let error = rules(config, "").unwrap_err();
            assert!(error.contains(said), "{config}: {error}");
        }
        assert!(rules("upstream: original_destination", "--port 8080").is_ok(), "whoever names a port knows what listens there");
    }

    #[test]
    fn only_numbers_that_can_be_ports_and_marks_are_taken() {
        for line in ["--ports 0", "--ports 65536", "--ports 80,", "--ports ALL", "--port 0", "--except 0", "--except all", "--uid x", "--uid -1"] {
            assert!(rules("", line).is_err(), "{line}");
        }
        for mark in ["0", "0x", "0x100000000", "-1", "x", "5C0"] {
            assert!(rules("", &format!("--mark={mark}")).is_err(), "{mark}");
        }
        assert_eq!(rules("", "--mark 0XFFFFFFFF").unwrap().exempt.mark, Some(u32::MAX));
    }
}
