//! Owner, group and mode of a file that holds secrets into what would be right, where others may read it than those it is for.
//! Trusts no group but one of this process' own, in a file that root gave it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

use super::tree::Node;

/// Whom a file is to be for.
struct Reader {
    user: u32,
    groups: Vec<u32>,
}

const OWN: &str = "`chmod 600` it";
const GIVEN: &str = "`chmod 440` it, as a file of root and of a group of this process (in a pod: `defaultMode: 0440` and `fsGroup`)";

/// What would be right, where others may read the file.
pub fn remedy(meta: &Metadata) -> Option<&'static str> {
    let reader = Reader::this_process();
    if reader.alone_reads(meta.uid(), meta.gid(), meta.mode()) {
        return None;
    }
    Some(if reader.user == 0 || reader.user == meta.uid() { OWN } else { GIVEN })
}

/// The same of a file by name, where there is one.
pub fn remedy_at(path: &Path) -> Option<&'static str> {
    std::fs::metadata(path).ok().as_ref().and_then(remedy)
}

/// Files of secrets among the settings, which are read without regard to their modes: where each is named, and what is wrong.
pub fn of_settings<'a>(tree: &'a Node, base: &Path) -> Vec<(&'a Node, String)> {
    let egress = tree.get("egress").map(Node::items).unwrap_or_default();
    let egress = egress.iter().flat_map(|entry| {
        let key = entry.get("backstage").and_then(|backstage| backstage.get("key_file"));
        [(entry.get("bearer_file"), "`egress` has a `bearer_file`"), (key, "`egress.backstage` has a `key_file`")]
    });
    let limits = tree.get("limits").and_then(|limits| limits.get("backend_file"));
    let named = egress.chain([(limits, "`limits` has a `backend_file`")]).filter_map(|(node, what)| Some((node?, what)));
    let open = |(node, what): (&'a Node, &str)| {
        let remedy = remedy_at(&base.join(node.text()?))?;
        Some((node, format!("{what} that other users may read; {remedy}")))
    };
    named.filter_map(open).collect()
}

impl Reader {
    fn this_process() -> Self {
        // Who cannot be told their groups has none.
        let groups = getgroups().unwrap_or_default().into_iter().chain([getegid()]).map(|group| group.as_raw()).collect();
        Self { user: geteuid().as_raw(), groups }
    }

    /// Who is neither root nor the owner can read a file by its group or not at all: a Secret in a pod is root's, of the pod's `fsGroup`. Only root
    /// can have made it so, and knows who is in the group. PostgreSQL has the same rule for its key. An owner has no need of the group.
    fn alone_reads(&self, owner: u32, group: u32, mode: u32) -> bool {
        let by_owner = mode & 0o044 == 0;
        let by_group = owner == 0 && self.user != 0 && mode & 0o077 == 0o040 && self.groups.contains(&group);
        by_owner || by_group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: u32 = 65532;

    #[test]
    fn a_group_counts_in_roots_file_for_a_member_who_is_not_root() {
        for owner in [0, 7, POD] {
            for group in [0, 7, 8, POD] {
                for user in [0, 7, POD] {
                    for groups in [vec![], vec![POD], vec![7], vec![7, POD], vec![0]] {
                        let reader = Reader { user, groups: groups.clone() };
                        let given = owner == 0 && user != 0 && groups.contains(&group);
                        let case = format!("{owner}:{group} read by {user} in {groups:?}");
                        for mode in [0o400, 0o600, 0o700, 0o000, 0o100_600] {
                            assert!(reader.alone_reads(owner, group, mode), "{mode:o} {case}");
                        }
                        for mode in [0o440, 0o640, 0o040, 0o100_440] {
                            assert_eq!(reader.alone_reads(owner, group, mode), given, "{mode:o} {case}");
                        }
                        for mode in [0o444, 0o404, 0o644, 0o460, 0o450, 0o441, 0o442, 0o660, 0o666, 0o777] {
                            assert!(!reader.alone_reads(owner, group, mode), "{mode:o} {case}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn this_process_is_who_the_system_says_it_is() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let numbers = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(|number| number.parse().unwrap()).collect()
        };
        let reader = Reader::this_process();
        assert_eq!(reader.user, numbers("Uid:")[1]);
        let groups = [numbers("Groups:"), vec![numbers("Gid:")[1]]].concat();
        assert_eq!(reader.groups, groups);
    }
}
