//! How much memory this process may still take: [`available_bytes`] is the least of what the system has free and what the
//! control groups allow.

use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes that may still be taken; none where the system does not tell.
pub(crate) fn available_bytes() -> Option<u64> {
    let read = |path: &str| fs_err::read_to_string(path).ok();
    let free = read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemAvailable:"));
    let membership = read("/proc/self/cgroup").unwrap_or_default();
    [free, allowed_bytes(Path::new(CGROUPS), &membership)].into_iter().flatten().min()
}

/// Bytes of this process that are in memory now.
pub(crate) fn resident_bytes() -> Option<u64> {
    kilobytes(&fs_err::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The number of bytes that were in memory at the most, where the system tells.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    kilobytes(&fs_err::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a line such as `VmRSS:   12 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// What the groups of `/proc/self/cgroup` still allow, the tightest of them: versions 1 and 2, each group with those above it.
fn allowed_bytes(root: &Path, membership: &str) -> Option<u64> {
    let groups = membership.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some((root.join(path), root.to_owned())),
            _ if controllers.split(',').any(|name| name == "memory") => {
                let root = root.join("memory");
                Some((root.join(path), root))
            }
            _ => None,
        }
    });
    let above = |(group, root): (PathBuf, PathBuf)| {
        let within = group.ancestors().take_while(|path| path.starts_with(&root));
        within.map(Path::to_owned).collect::<Vec<_>>()
    };
    groups.flat_map(above).filter_map(|group| left_in(&group)).min()
}

/// Limit less use of one group; pages of files that nobody needs are given back when others are needed.
fn left_in(group: &Path) -> Option<u64> {
    let text = |name: &str| fs_err::read_to_string(group.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes")).unwrap_or(0);
    let idle = text("memory.stat").and_then(|stat| {
        let line = |name: &str| {
            let line = stat.lines().find(|line| line.split(' ').next() == Some(name))?;
            line.split(' ').nth(1)?.parse::<u64>().ok()
        };
        line("total_inactive_file").or_else(|| line("inactive_file"))
    });
    Some(limit.saturating_sub(used.saturating_sub(idle.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let name = format!("bioinstruct-cgroups-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        put("jobs/memory.max", "1000\n");
        put("jobs/memory.current", "700\n");
        put("jobs/memory.stat", "anon 400\ninactive_file 100\n");
        put("jobs/one/memory.max", "max\n");
        assert_eq!(allowed_bytes(&root, "0::/jobs/one\n"), Some(400));
        put("jobs/one/memory.max", "350\n");
        assert_eq!(allowed_bytes(&root, "0::/jobs/one\n"), Some(350));
        put("memory/old/memory.limit_in_bytes", "900\n");
        put("memory/old/memory.usage_in_bytes", "1000\n");
        put("memory/old/memory.stat", "total_inactive_file 300\n");
        assert_eq!(allowed_bytes(&root, "3:cpu:/old\n5:memory:/old\n"), Some(200));
        assert_eq!(allowed_bytes(&root, ""), None);
        fs_err::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn this_process_is_in_memory() {
        let (now, peak) = (resident_bytes().unwrap(), peak_rss_bytes().unwrap());
        assert!(now > 1 << 20 && peak >= now / 2 && available_bytes().unwrap() > 1 << 20);
    }
}
