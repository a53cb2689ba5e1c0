//! `store` and `store_keys` of a tree into where the store is and under which keys, or none where nothing needs one.
//! Never quotes the URL: a password may be in it. Makes no file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use zeroize::Zeroizing;

use super::credentials::secret_file;
use super::fault::Faults;
use super::modes;
use super::quantity;
use super::tree::Node;
use crate::store::Place;
use crate::store::secrets::{self, KeysFault};

const URL: &str = "it is `sqlite:/path` or `postgres://user@host/database`";
const STALE_FOR: Duration = Duration::from_secs(30);
/// The store is asked once a second, and an answer may take three.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub place: Place,
    /// `None` where the keys end with the process.
    pub keys: Option<PathBuf>,
    /// How long the gate goes on while the store is out of reach.
    pub stale_for: Duration,
}

/// What a store is planned with.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The folder of the configuration; `None` where it is a text, whose store ends with the process.
    pub base: Option<&'a Path>,
    /// A secret that others may read is a fault, and not a warning alone.
    pub strict: bool,
    pub warnings: &'a mut Vec<String>,
    pub faults: &'a mut Faults,
}

pub fn store(tree: &Node, desk: &mut Desk<'_>) -> Option<StoreSettings> {
    let said = tree.get("store");
    if said.is_none() && !needs_one(tree) {
        if let Some(keys) = tree.get("store_keys") {
            desk.faults.at(keys, "`store_keys` says nothing without a store; set `store` or remove it");
        }
        return None;
    }
    let place = match said.map(|node| url(node, desk)) {
        Some(url) => place(said?, &url?, desk)?,
        None => desk.base.map_or(Place::Memory, |base| Place::Sqlite(base.join("scopegate.db"))),
    };
    let node = said.and_then(|node| node.get("stale_for"));
    let stale_for = quantity::said(node, STALE_FOR);
    if let (Some(said), false) = (node, (SHORTEST..=LONGEST).contains(&stale_for)) {
        desk.faults.at(said, format!("`store.stale_for` is {}; it is from `5s` to `24h`", said.quoted()));
    }
    let keys = keys(tree, &place, desk);
    if let Place::Sqlite(path) = &place
        && let Some(remedy) = modes::remedy_at(path)
    {
        desk.open(tree, &format!("the store {} may be read by other users; {remedy}", path.display()));
    }
    Some(StoreSettings { place, keys, stale_for })
}

/// Whether something is said that is nothing without a store.
fn needs_one(tree: &Node) -> bool {
    let managed = |node: &Node| node.get("kind").and_then(Node::text) == Some("api_key") || node.get("profile").is_some();
    let entries = |key: &str| tree.get(key).map(Node::entries).unwrap_or_default();
    tree.get("management").is_some()
        || entries("credentials").iter().any(|(_, node)| managed(node))
        || entries("routes").iter().any(|(_, node)| node.get("mfa").is_some())
        || tree.get("default").is_some_and(|node| node.get("mfa").is_some())
}

fn url(node: &Node, desk: &mut Desk<'_>) -> Option<Zeroizing<String>> {
    if let Some(text) = node.text() {
        return Some(Zeroizing::new(text.to_owned()));
    }
    match (node.get("url"), node.get("url_file")) {
        (Some(_), Some(file)) => {
            desk.faults.at(file, "`store` has both `url` and `url_file`; keep one");
            None
        }
        (Some(said), None) => Some(Zeroizing::new(said.text().unwrap_or_default().to_owned())),
        (None, Some(file)) => {
            let path = desk.base.unwrap_or(Path::new("")).join(file.text().unwrap_or_default());
            let read = secret_file(&path).map_err(|why| desk.faults.at(file, format!("`store.url_file` cannot be read: {why}"))).ok()?;
            if let Some(remedy) = modes::remedy_at(&path) {
                desk.open(file, &format!("`store` has a `url_file` that other users may read; {remedy}"));
            }
            Some(read)
        }
        (None, None) => {
            desk.faults.at(node, format!("`store` has no `url`; {URL}"));
            None
        }
    }
}

fn place(node: &Node, url: &str, desk: &mut Desk<'_>) -> Option<Place> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        // `sqlite:///path` is what others call it.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.is_empty() && path != ":memory:" && !path.contains(['?', '#']) {
            return Some(Place::Sqlite(desk.base.unwrap_or(Path::new("")).join(path)));
        }
    }
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if is_postgres && PgConnectOptions::from_str(url).is_ok() {
        return Some(Place::Postgres(url.into()));
    }
    desk.faults.at(node, format!("`store` is no address of a store; {URL}"));
    None
}

fn keys(tree: &Node, place: &Place, desk: &mut Desk<'_>) -> Option<PathBuf> {
    let said = tree.get("store_keys").and_then(|node| node.get("file"));
    let path = match (said.and_then(Node::text), place) {
        (Some(file), Place::Sqlite(_) | Place::Postgres(_) | Place::Memory) => desk.base.unwrap_or(Path::new("")).join(file),
        (None, Place::Sqlite(path)) => path.with_file_name("store.keys"),
        (None, Place::Memory) => return None,
        (None, Place::Postgres(_)) => {
            let message = "`store_keys.file` is missing; a PostgreSQL store needs one file of keys for all replicas, one line `id:base64` a key";
            desk.faults.at(tree.get("store_keys").or_else(|| tree.get("store")).unwrap_or(tree), message);
            return None;
        }
    };
    let node = said.unwrap_or(tree);
    match secrets::read(&path) {
        Ok((_, meta)) => {
            if let Some(remedy) = modes::remedy(&meta) {
                desk.open(node, &format!("{} has keys of the store, and other users may read it; {remedy}", path.display()));
            }
        }
        Err(KeysFault::Wrong(faults)) => faults.iter().for_each(|why| desk.faults.at(node, format!("`store_keys`: {} {why}", path.display()))),
        // Made at the start.
        Err(KeysFault::Absent) if matches!(place, Place::Sqlite(_)) => {}
        Err(KeysFault::Absent) => {
            let message =
                format!("`store_keys`: {} is not there; make one, a line `id:base64` with what `openssl rand -base64 32` gives", path.display());
            desk.faults.at(node, message);
        }
    }
    Some(path)
}

impl Desk<'_> {
    fn open(&mut self, node: &Node, message: &str) {
        if self.strict { self.faults.at(node, message) } else { self.warnings.push(message.to_owned()) }
    }
}
