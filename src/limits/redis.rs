//! Buckets in Redis or Valkey, for one limit across replicas: one round trip a request, reckoned there and by the clock there.
//! Waits for an answer no longer than it may, and for a connection never: where there is none, it says so at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Script};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Wants;
use super::gcra::Limit;
use crate::config::limits::Redis;

/// How long a new connection may take until it has answered.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two attempts, doubled each time.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Nobody knows how many are left: there is no connection, or no answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// Which of several refuses, and for how many nanoseconds.
pub type Refused = (usize, u64);

pub struct Shared {
    link: Arc<Link>,
    timeout: Duration,
    _keeper: AbortOnDropHandle<()>,
}

/// The connection that is in use, if any. Whoever finds it broken takes it away, so that nobody else waits for it.
struct Link {
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
    script: Script,
}

impl Shared {
    /// Connects, or goes on to try. Call inside the runtime that the connection shall live in.
    pub async fn start(redis: &Redis, timeout: Duration) -> Result<Self, String> {
        let client = redis.info().and_then(|info| Client::open(info).ok()).ok_or("`limits.backend` is no address of a Redis")?;
        let script = Script::new(include_str!("take.lua"));
        let link = Arc::new(Link { connection: ArcSwapOption::empty(), broken: Notify::new(), script });
        let first = link.connect(&client).await;
        let _keeper = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&link), client, first)));
        Ok(Self { link, timeout, _keeper })
    }

    /// Takes one of each, or of none.
    pub async fn take(&self, wants: &Wants<'_>) -> Result<Result<(), Refused>, Unreachable> {
        let connection = self.link.connection.load_full().ok_or(Unreachable)?;
        let mut call = self.link.script.prepare_invoke();
        for want in wants.iter().flatten() {
            let limit = Limit::of(want.rate);
            call.key(want.bucket.name()).arg(limit.interval).arg(limit.full);
        }
        let mut handle = MultiplexedConnection::clone(&connection);
        // A server that has forgotten the script is given it once more.
        let answer: Option<RedisResult<(usize, u64)>> = timeout(self.timeout, call.invoke_async(&mut handle)).await.ok();
        match answer {
            Some(Ok((0, _))) => Ok(Ok(())),
            Some(Ok((number, wait))) => Ok(Err((number - 1, wait))),
            Some(Err(_)) | None => {
                self.link.withdraw(&connection);
                Err(Unreachable)
            }
        }
    }
}

impl Link {
    /// A connection that has answered; into use with it.
    async fn connect(&self, client: &Client) -> Result<(), String> {
        // Whoever asks has a time limit of its own.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let connected = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            self.script.load_async(&mut connection).await?;
            Ok(connection)
        };
        let connection = timeout(CONNECT, connected).await.map_err(|_| "it does not answer".to_owned())?;
        self.connection.store(Some(Arc::new(connection.map_err(|error: RedisError| error.to_string())?)));
        Ok(())
    }

    /// Takes a broken connection out of use; one that has taken its place stays.
    fn withdraw(&self, connection: &Arc<MultiplexedConnection>) {
        let before = self.connection.compare_and_swap(connection, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, connection)) {
            self.broken.notify_one();
        }
    }
}

/// Keeps a connection in use, for as long as it is let.
async fn keep(link: Arc<Link>, client: Client, first: Result<(), String>) {
    let (mut connected, mut pause, mut is_known) = (first, FIRST, false);
    loop {
        match connected {
            Ok(()) => {
                if std::mem::take(&mut is_known) {
                    tracing::info!("Redis is back; limits are counted there again");
                }
                let since = Instant::now();
                link.broken.notified().await;
                if since.elapsed() > LONGEST {
                    pause = FIRST;
                }
                tracing::warn!("Redis does not answer; limits are counted in this process until it does");
                is_known = true;
            }
            Err(why) if !is_known => {
                tracing::warn!("Redis is out of reach, limits are counted in this process: {why}");
                is_known = true;
            }
            Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
        connected = link.connect(&client).await;
    }
}

/// An address may have a password in it.
impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Shared(…)")
    }
}
