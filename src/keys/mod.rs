//! Where keys are published, into key sets that are always at hand: one live [`Remote`] for each address, whatever is reloaded.
//! Never fetches on a request's way, and never takes an address from a token.

mod discovery;
mod disk;
mod freshness;
mod keeper;
mod remote;
mod rounds;
#[cfg(test)]
mod sample;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use http::Uri;
use serde::Serialize;
use tokio::runtime::Handle;

pub use discovery::Issuer;
pub use remote::Remote;

use crate::fetch::Client;
use crate::fetch::address::{is_allowed, shown};
use disk::Disk;
use keeper::Fetcher;

/// Where a key set is published.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Where {
    Jwks(Uri),
    Discovery(Issuer),
    /// Google's map of X.509 certificates, or a JWKS: the document shows which.
    Certificates(Uri),
}

/// What `/readyz` tells of a key set.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Without its query.
    pub address: String,
    pub age_seconds: Option<u64>,
    pub keys: usize,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
    /// Whether the set is older than its publisher meant it to get.
    pub stale: bool,
}

impl Where {
    pub fn jwks(url: &str) -> Result<Self, &'static str> {
        is_allowed(url).map(Self::Jwks)
    }

    pub fn discovery(issuer: &str) -> Result<Self, &'static str> {
        Issuer::parse(issuer).map(Self::Discovery)
    }

    pub fn certificates(url: &str) -> Result<Self, &'static str> {
        is_allowed(url).map(Self::Certificates)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Jwks(_) => "jwks",
            Self::Discovery(_) => "discovery",
            Self::Certificates(_) => "certificates",
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Jwks(uri) | Self::Certificates(uri) => uri.to_string(),
            Self::Discovery(issuer) => issuer.as_str().into(),
        }
    }

    /// For operators: without the query, which can hold a key.
    pub fn shown(&self) -> String {
        match self {
            Self::Jwks(uri) | Self::Certificates(uri) => shown(uri),
            Self::Discovery(issuer) => issuer.as_str().into(),
        }
    }
}

impl fmt::Debug for Where {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Where({} {})", self.kind(), self.shown())
    }
}

/// Every key set of the process, and what they are fetched with.
#[derive(Debug)]
pub struct Registry {
    /// `None`: nothing is ever fetched.
    handle: Option<Handle>,
    client: OnceLock<Option<Client>>,
    folder: OnceLock<Option<PathBuf>>,
    disk: OnceLock<Option<Arc<Disk>>>,
    remotes: Mutex<Vec<Weak<Remote>>>,
}

impl Registry {
    /// Fetches on the runtime of `handle`; keeps copies in the folder `disk`.
    pub fn new(handle: Handle, disk: Option<PathBuf>) -> Self {
        let registry = Self::fetching(handle);
        registry.keep_in(disk.as_deref());
        registry
    }

    /// The same, before it is known where copies are kept.
    pub fn fetching(handle: Handle) -> Self {
        Self { handle: Some(handle), ..Self::offline() }
    }

    /// Where copies are kept, from the first word on that is said of it.
    pub fn keep_in(&self, folder: Option<&Path>) {
        self.folder.get_or_init(|| folder.map(Path::to_owned));
    }

    /// For commands that only check: touches neither network nor disk.
    pub fn offline() -> Self {
        Self { handle: None, client: OnceLock::new(), folder: OnceLock::new(), disk: OnceLock::new(), remotes: Mutex::default() }
    }

    /// What fetches, and where it runs; `None` offline.
    pub fn client(&self) -> Option<(Client, Handle)> {
        let handle = self.handle.clone()?;
        let client = self.client.get_or_init(|| Client::new().inspect_err(|error| tracing::error!("nothing can be fetched: {error}")).ok());
        Some((client.clone()?, handle))
    }

    /// The key set of `place`, which lives and stays fresh for as long as somebody holds it.
    pub fn remote(&self, place: &Where) -> Arc<Remote> {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        remotes.retain(|remote| remote.strong_count() > 0);
        if let Some(known) = remotes.iter().filter_map(Weak::upgrade).find(|remote| remote.place() == place) {
            return known;
        }
        let client = self.client();
        let remote = Arc::new(Remote::new(place.clone(), client.is_some(), self.disk().cloned()));
        if let Some((client, handle)) = client {
            handle.spawn(keeper::keep(Arc::downgrade(&remote), Fetcher::new(client, place.clone())));
        }
        remotes.push(Arc::downgrade(&remote));
        remote
    }

    fn disk(&self) -> Option<&Arc<Disk>> {
        let open = || {
            let folder = self.folder.get().and_then(Option::as_deref).filter(|_| self.handle.is_some())?;
            let disk = Disk::open(folder).inspect_err(|error| {
                tracing::warn!("key sets are not kept in {}: {error}; a restart will have to fetch them", folder.display());
            });
            disk.ok().map(Arc::new)
        };
        self.disk.get_or_init(open).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::sample::jwks;
    use super::*;
    use crate::fetch::local::{Local, Reply, leap};
    use crate::gate::unix_now;
    use crate::principal::Keys;
    use std::time::Duration;

    const DUE: Duration = Duration::from_secs(300);

    fn registry(folder: Option<PathBuf>) -> Registry {
        Registry::new(Handle::current(), folder)
    }

    /// A folder with a copy of what `server` publishes at `/keys`.
    async fn kept(server: &Local, folder: &Path) -> Where {
        let place = Where::jwks(&server.url("/keys?key=secret")).unwrap();
        let remote = registry(Some(folder.join("kept"))).remote(&place);
        remote.round(1).await;
        // The second fetch begins when the copy of the first is written, and leaves none itself.
        server.reply("/keys", Reply::Whole(500, vec![], String::new()));
        leap(DUE).await;
        remote.round(2).await;
        server.reply_with("/keys", &jwks(&["a"]));
        place
    }

    #[tokio::test]
    async fn one_address_has_one_live_set_across_reloads() {
        let server = Local::start().await;
        server.reply_with("/keys", &jwks(&["a"]));
        let registry = registry(None);
        let [place, other] = [Where::jwks, Where::certificates].map(|kind| kind(&server.url("/keys")).unwrap());
        let first = registry.remote(&place);
        first.round(1).await;
        let second = registry.remote(&place);
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &registry.remote(&other)));
        drop(first);
        assert!(second.loaded());
        drop(second);
        assert!(!registry.remote(&place).loaded());
    }

    #[tokio::test]
    async fn a_restart_begins_with_the_kept_set() {
        let (server, folder) = (Local::start().await, tempfile::tempdir().unwrap());
        server.reply_with("/keys", &jwks(&["a"]));
        let place = kept(&server, folder.path()).await;
        server.reply("/keys", Reply::Whole(500, vec![], String::new()));
        let remote = registry(Some(folder.path().join("kept"))).remote(&place);
        let set = remote.current(unix_now()).unwrap();
        assert!(set.knows("a") && *remote.changed().borrow());
        remote.round(1).await;
        assert!(Arc::ptr_eq(&set, &remote.current(unix_now()).unwrap()));
        assert!(remote.status().last_error.unwrap().contains("`500`"));
        // A day is a day, wherever the set was meanwhile.
        leap(Duration::from_secs(24 * 60 * 60)).await;
        assert!(remote.current(0).is_none());
    }

    #[tokio::test]
    async fn a_kept_set_that_is_still_published_stays_the_same() {
        let (server, folder) = (Local::start().await, tempfile::tempdir().unwrap());
        server.reply_with("/keys", &jwks(&["a"]));
        let place = kept(&server, folder.path()).await;
        let remote = registry(Some(folder.path().join("kept"))).remote(&place);
        let set = remote.current(unix_now()).unwrap();
        remote.round(1).await;
        assert_eq!(remote.status().last_error, None);
        assert!(Arc::ptr_eq(&set, &remote.current(unix_now()).unwrap()));
        server.reply_with("/keys", &jwks(&["b"]));
        leap(DUE).await;
        remote.round(2).await;
        assert!(remote.current(unix_now()).unwrap().knows("b"));
    }

    #[tokio::test]
    async fn a_kept_document_without_keys_is_no_set() {
        let (server, folder) = (Local::start().await, tempfile::tempdir().unwrap());
        server.reply_with("/keys", &jwks(&["a"]));
        let place = kept(&server, folder.path()).await;
        let file = std::fs::read_dir(folder.path().join("kept")).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap().replace("OKP", "???");
        std::fs::write(&file, text).unwrap();
        assert!(!registry(Some(folder.path().join("kept"))).remote(&place).loaded());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_leaves_sets_in_memory() {
        let (server, folder) = (Local::start().await, tempfile::tempdir().unwrap());
        server.reply_with("/keys", &jwks(&["a"]));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let remote = registry(Some(file)).remote(&Where::jwks(&server.url("/keys")).unwrap());
        remote.round(1).await;
        assert!(remote.loaded());
    }

    #[tokio::test]
    async fn offline_nothing_is_fetched() {
        let server = Local::start().await;
        let registry = Registry::offline();
        let remote = registry.remote(&Where::jwks(&server.url("/keys")).unwrap());
        assert!(!remote.refresh(Duration::from_secs(600)).await);
        assert!(!remote.loaded() && registry.client().is_none());
        assert_eq!(server.count("/keys"), 0);
    }

    #[test]
    fn a_place_is_shown_without_its_query() {
        let place = Where::jwks("https://idp.example/keys?key=secret").unwrap();
        assert_eq!((place.shown(), format!("{place:?}")), ("https://idp.example/keys".into(), "Where(jwks https://idp.example/keys)".into()));
    }
}
