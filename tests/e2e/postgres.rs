//! A PostgreSQL server of the tests' own: one for all that only want a database, or one that a test may stop as it likes.
//! It runs as another user where the tests run as root, because it refuses to.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::process::{Process, free_port, tool, until};

/// `nobody`, who owns nothing else.
const USER: u32 = 65_534;

/// Nobody asks for it, and nobody may show it.
pub const PASSWORD: &str = "only-in-the-url";

/// A server; it ends with the last test that has it.
#[derive(Debug)]
pub struct Server {
    process: Mutex<Process>,
    folder: TempDir,
    port: u16,
}

/// A database of its own, on a server that may have others.
#[derive(Clone, Debug)]
pub struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    /// A new one, on the server of all tests.
    pub async fn new() -> Self {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let server = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(Server::start());
                *shared = Arc::downgrade(&server);
                server
            })
        };
        Self::on(server).await
    }

    /// A new one, on a server that nobody else has.
    pub async fn alone() -> Self {
        Self::on(Arc::new(Server::start())).await
    }

    async fn on(server: Arc<Server>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gate_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))).await.unwrap();
        Self { server, name }
    }

    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Runs SQL that the test wrote itself.
    pub async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    }

    /// What a backup would hold, as text.
    pub fn dump(&self) -> String {
        let output = Command::new(tool("pg_dump")).args(["--inserts", &self.url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everybody stands still and no connection ends, as behind a network that has gone.
    pub fn freeze(&self) {
        self.server.signal_all("STOP");
    }

    pub fn thaw(&self) {
        self.server.signal_all("CONT");
    }

    /// An immediate shutdown: no goodbye, and nobody listens any more.
    pub fn stop(&self) {
        let mut process = self.server.process.lock().unwrap();
        process.signal("QUIT");
        process.ended();
    }

    pub fn start_again(&self) {
        *self.server.process.lock().unwrap() = Server::run(self.server.folder.path(), self.server.port);
        self.server.until_ready();
    }
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        if is_root(folder.path()) {
            chown(&data, Some(USER), Some(USER)).unwrap();
        }
        let made = as_user("initdb", folder.path()).args(["-A", "trust", "-U", "gate", "-E", "UTF8", "--no-sync", "-D"]).arg(&data).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let server = Self { process: Mutex::new(Self::run(folder.path(), port)), folder, port };
        server.until_ready();
        server
    }

    fn run(folder: &Path, port: u16) -> Process {
        let (program, arguments) = command("postgres", folder);
        Process::start("postgres", Path::new(&program), folder, |command| {
            command.args(arguments).arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-k", ""]);
            for setting in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=200", "shared_buffers=64MB"] {
                command.args(["-c", setting]);
            }
        })
    }

    fn until_ready(&self) {
        self.process
            .lock()
            .unwrap()
            .until("ready to accept connections", |process| process.said().matches("database system is ready to accept connections").count() > 0);
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://gate:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The server and each of its own processes, of which every connection has one.
    fn signal_all(&self, signal: &str) {
        let id = self.process.lock().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let all = format!("{id} {children}");
        // One may have ended since.
        let _ = Command::new("bash").arg("-c").arg(format!("kill -{signal} {all}")).output().unwrap();
        if signal == "STOP" {
            until("the server stands still", || {
                std::fs::read_to_string(format!("/proc/{id}/stat"))
                    .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal_all("CONT");
        if let Ok(mut process) = self.process.lock()
            && !std::thread::panicking()
        {
            process.signal("QUIT");
            process.ended();
        }
    }
}

fn is_root(folder: &Path) -> bool {
    std::fs::metadata(folder).unwrap().uid() == 0
}

/// A program of PostgreSQL's and what goes before its own arguments.
fn command(name: &str, folder: &Path) -> (String, Vec<String>) {
    // By its real path: a program of PostgreSQL's finds the others beside it.
    let program = tool(name).canonicalize().unwrap().display().to_string();
    if !is_root(folder) {
        return (program, Vec::new());
    }
    let user = USER.to_string();
    ("/usr/bin/setpriv".into(), ["--reuid", &user, "--regid", &user, "--clear-groups", &program].map(str::to_owned).to_vec())
}

fn as_user(name: &str, folder: &Path) -> Command {
    let (program, arguments) = command(name, folder);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command
}
