//! Rules into the network namespace of this process: one batch to nf_tables, and what the kernel answers to each of its messages.
//! Leaves nothing half done: where one message is refused, all that was before stays.

use std::io::{self, ErrorKind, Read};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::expressions::batch;
use super::netlink::answer;
use super::rules::Rules;

const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;

/// What a node's kernel has to have.
const NEEDED: &str = "needed are Linux 5.2 and its modules nf_tables, nft_chain_nat, nft_fib_inet and nft_redir on the node; \
                      for one that has iptables alone there is `scopegate intercept --print --format iptables`";

impl Rules {
    pub fn apply(&self) -> Result<(), String> {
        let (bytes, asks) = batch(self);
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_NETFILTER)))
            .map_err(|error| format!("the kernel gives no socket to netfilter: {error}; {NEEDED}"))?;
        socket.set_nonblocking(true).map_err(|error| format!("the socket to netfilter cannot be used: {error}"))?;
        // Without a name of its own or of another, a socket talks to the kernel, which does what it is told before the call ends.
        match socket.send(&bytes) {
            Ok(_) => done(&asks, &answers(socket)?),
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                Err("these are more ports than the kernel takes at once; redirect `all` but those of --except".into())
            }
            Err(error) => Err(format!("the rules cannot be sent to the kernel: {error}")),
        }
    }
}

/// All that the kernel has said.
fn answers(mut socket: Socket) -> Result<Vec<(usize, i32)>, String> {
    let mut answers = Vec::new();
    // Of a refused message the beginning comes back too, which nobody needs whole.
    let mut buffer = [0; 512];
    loop {
        match socket.read(&mut buffer) {
            Ok(length) => {
                let answer = buffer.get(..length).and_then(answer);
                answers.push(answer.ok_or("the kernel answers in a form that is not known; look with `nft list ruleset` what is in force")?);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the kernel's answer cannot be read: {error}; look with `nft list ruleset` what is in force")),
        }
    }
}

/// Whether each message was done, and the whole.
fn done(asks: &[String], answers: &[(usize, i32)]) -> Result<(), String> {
    if let Some((number, error)) = answers.iter().find(|(_, error)| *error != 0) {
        return Err(refused(number.checked_sub(1).and_then(|at| asks.get(at)).map(String::as_str), *error));
    }
    match (1..=asks.len()).find(|number| !answers.contains(&(*number, 0))) {
        None => Ok(()),
        Some(number) => Err(format!("the kernel says nothing to message {number} of {}; look with `nft list ruleset` what is in force", asks.len())),
    }
}

/// `None` is the batch itself.
fn refused(what: Option<&str>, error: i32) -> String {
    let errno = Errno::from_raw_os_error(error);
    let unchanged = format!("{}; nothing has been changed", io::Error::from(errno));
    match (what, errno) {
        (None, Errno::PERM) => format!(
            "the rules of this network namespace are not this user's to change: {unchanged}; needed is the capability NET_ADMIN, in a pod \
             `securityContext: {{runAsUser: 0, capabilities: {{add: [NET_ADMIN]}}}}` of the init container"
        ),
        (Some(_), Errno::PERM) => format!("the table `inet scopegate` is another process' own, until that ends: {unchanged}"),
        (None, _) => format!("the kernel takes no rules of nf_tables: {unchanged}; {NEEDED}"),
        (Some(what), Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => {
            format!("the kernel does not know `{what}`: {unchanged}; {NEEDED}")
        }
        (Some(what), _) => format!("the kernel refuses `{what}`: {unchanged}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks() -> Vec<String> {
        ["table inet scopegate", "fib daddr type != local return"].map(str::to_owned).into()
    }

    #[test]
    fn done_is_what_the_kernel_says_is_done_and_all_of_it() {
        assert_eq!(done(&asks(), &[(2, 0), (1, 0)]), Ok(()));
        for answers in [&[][..], &[(1, 0)], &[(2, 0), (2, 0)], &[(0, 0), (2, 0)]] {
            let error = done(&asks(), answers).unwrap_err();
            assert!(error.contains("says nothing to message") && error.contains("`nft list ruleset`"), "{error}");
        }
        for answers in [[(1, 0), (2, 0), (0, 16)], [(0, 16), (1, 0), (2, 0)]] {
            assert!(done(&asks(), &answers).unwrap_err().contains("nothing has been changed"), "what is taken back at the end was never done");
        }
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        let refused = |number: usize, errno: Errno| done(&asks(), &[(number, errno.raw_os_error())]).unwrap_err();
        for (number, errno, said) in [
            (0, Errno::PERM, "capabilities: {add: [NET_ADMIN]}"),
            (0, Errno::OPNOTSUPP, "modules nf_tables, nft_chain_nat, nft_fib_inet and nft_redir"),
            (1, Errno::PERM, "another process' own"),
            (1, Errno::NOMEM, "the kernel refuses `table inet scopegate`: "),
            (2, Errno::NOENT, "the kernel does not know `fib daddr type != local return`"),
            (2, Errno::NOENT, "Linux 5.2"),
            (7, Errno::INVAL, "the kernel takes no rules of nf_tables"),
        ] {
            let error = refused(number, errno);
            assert!(error.contains(said) && error.contains("; nothing has been changed") && !error.contains('\n'), "{errno}: {error}");
        }
    }
}
