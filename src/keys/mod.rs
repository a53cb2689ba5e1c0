//! Where keys are published, into key sets that are always at hand: one live [`Remote`] for each address, whatever is reloaded.
//! Never fetches on a request's way, and never takes an address from a token.

mod discovery;
mod disk;
mod freshness;
mod keeper;
mod remote;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use http::Uri;
use tokio::runtime::Handle;

pub use discovery::Issuer;
pub use remote::{Remote, Status};

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
