//! `scopegate healthcheck`: the operator door's `/readyz` or `/healthz`, as an exit status.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Args)]
pub struct Healthcheck {
    /// The operator door, `host:port` or `unix:/path`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9190", value_parser = address)]
    address: String,
    /// Whether it is alive (`/healthz`), ready or not
    #[arg(long)]
    live: bool,
}

/// Kubernetes gives a probe one second unless told otherwise.
const PATIENCE: Duration = Duration::from_millis(900);

impl Healthcheck {
    pub fn run(self) -> Result<bool, String> {
        let (path, word) = if self.live { ("/healthz", "alive") } else { ("/readyz", "ready") };
        let status = self.ask(path).map_err(|error| format!("{} does not answer: {error}", self.address))?;
        if status == "200" {
            println!("{word}");
            return Ok(true);
        }
        Err(format!("not {word}: {} answered {status}", self.address))
    }

    fn ask(&self, asked: &str) -> std::io::Result<String> {
        match self.address.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                status(stream, asked)
            }
            None => {
                let address = self.address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                status(stream, asked)
            }
        }
    }
}

fn address(text: &str) -> Result<String, String> {
    let good = match text.strip_prefix("unix:") {
        Some(path) => !path.is_empty(),
        None => text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
    };
    good.then(|| text.to_owned()).ok_or_else(|| "an address is `host:port` or `unix:/path`".into())
}

/// The status code of a GET.
fn status(mut stream: impl Read + Write, asked: &str) -> std::io::Result<String> {
    write!(stream, "GET {asked} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(head.get(9..).unwrap_or_default()).into_owned())
}
