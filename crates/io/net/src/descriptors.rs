//! How many descriptors the process may have open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit in force to the most that the process may set itself (`RLIMIT_NOFILE`, soft and
/// hard): a login shell's 1,024 are used up by 250 calls. What is in force then; where the system
/// refuses, that is what was.
pub fn raise() -> Option<usize> {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files stays as it is");
    }
    limit()
}

/// The limit that is in force (`RLIMIT_NOFILE`, its soft value); `None` if the system does not say,
/// or sets none.
pub fn limit() -> Option<usize> {
    of(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn of(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether something was refused because no descriptor is left, to the process or to the system.
pub fn none_left(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_soft_one_and_absent_where_there_is_none() {
        let head = "Limit                     Soft Limit           Hard Limit           Units\n";
        let line =
            |soft| format!("{head}Max open files            {soft}                 20000  files\n");
        assert_eq!(of(&line("1024")), Some(1024));
        assert_eq!((of(&line("unlimited")), of(head)), (None, None));
        assert!(limit().is_none_or(|n| n > 2));
    }

    #[test]
    fn the_limit_in_force_is_raised_to_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        raise();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        let error = io::Error::from_raw_os_error;
        assert!(none_left(&error(libc::EMFILE)) && none_left(&error(libc::ENFILE)));
        assert!(!none_left(&error(libc::EADDRINUSE)));
    }
}
