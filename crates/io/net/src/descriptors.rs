//! How many descriptors the process may have open.

use std::io;

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
    fn only_a_lack_of_descriptors_is_one() {
        let error = io::Error::from_raw_os_error;
        assert!(none_left(&error(libc::EMFILE)) && none_left(&error(libc::ENFILE)));
        assert!(!none_left(&error(libc::EADDRINUSE)));
    }
}
