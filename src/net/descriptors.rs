//! How many descriptors this process may have open, and how many of them are for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for everything else: files, sockets of the owner, dials back, the runtime.
const KEPT: u64 = 512;
/// No process here has more use of them: two connections for each of 100,000 peers.
const MOST: u64 = 262_144;

/// Raises the limit as far as the system lets this process, and as it has use of. Older programs could not take descriptors
/// above 1024, so that shells and services begin with that.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.unwrap_or(MOST).min(MOST);
    if limit.current.is_none_or(|now| now >= current) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }) {
        tracing::debug!(%error, "could not raise the limit of descriptors");
    }
}

/// Connections at once, at most so many, that leave descriptors for everything else.
pub(super) fn for_connections(most: usize) -> usize {
    within(most, getrlimit(Resource::Nofile).current)
}

fn within(most: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return most };
    // Of a small limit half.
    let left = limit.saturating_sub(KEPT).max(limit / 2).max(1);
    usize::try_from(left).map_or(most, |left| left.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(within(200_000, Some(65_536)), 65_024);
        assert_eq!(within(200_000, Some(1 << 20)), 200_000);
        assert_eq!(within(200_000, Some(256)), 128);
        assert_eq!(within(200_000, None), 200_000);
    }

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        raise();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        assert!(most(after.current) >= most(before.current));
        assert!(most(after.current) >= most(after.maximum).min(MOST));
    }
}
