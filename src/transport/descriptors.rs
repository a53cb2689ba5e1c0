//! The process's limit of open files into the highest that the system allows it.
//! Fails nothing: what is too little is told, and the accepting tasks wait for descriptors to come back.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside connections: listeners, runtimes, files, key sets.
const OTHERS: u64 = 256;

/// Raises the soft limit to the hard one; warns where that is too little for so many connections, each with one to the upstream.
pub fn raise(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
    let needed = (connections as u64).saturating_mul(2).saturating_add(OTHERS);
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            "{allowed} files may be open, and `bounds.connections` is {connections}, which can take {needed}; raise the limit or lower the bound"
        );
    }
}
